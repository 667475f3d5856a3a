package nemodiff.server

import nemodiff.core.Flag
import nemodiff.core.InlineCompletion
import nemodiff.core.Json
import nemodiff.core.Kind
import nemodiff.core.Languages
import nemodiff.core.Position
import nemodiff.core.Positions
import nemodiff.core.Range
import nemodiff.core.Real
import nemodiff.core.SETTINGS
import nemodiff.core.ServerCommand
import nemodiff.core.ServerCommands
import nemodiff.core.ServerSettings
import nemodiff.core.ServerStatus
import nemodiff.core.StatusMenu
import nemodiff.core.Text
import nemodiff.core.Texts
import nemodiff.core.Trigger
import nemodiff.core.Whole
import nemodiff.core.Word
import org.junit.jupiter.api.AfterEach
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertThrows
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Assumptions.assumeTrue
import org.junit.jupiter.api.BeforeEach
import org.junit.jupiter.api.Test
import org.junit.jupiter.api.io.TempDir
import java.nio.file.Path
import java.util.concurrent.ExecutionException

/**
 * The real `nemodiff lsp` over stdio, spoken to through the plugin's own classes.
 *
 * Its command line is the property nemodiff.server, a JSON list; the engine that it joins answers
 * with the texts of nemodiff.texts, the first of them to automatic requests.
 */
class RealServerTest {
    @TempDir
    lateinit var folder: Path

    private lateinit var server: LspPipe
    private var configuration: Map<String, Any> = emptyMap()
    private val source = "def add(a, b):\n    return \n"
    private val cursor = source.length - 1

    @BeforeEach
    fun start() {
        val command = System.getProperty("nemodiff.server")
        assumeTrue(command != null, "no server is given")
        val words = (Json.parse(command) as List<*>).map { it as String }
        server = LspPipe(words) { method, params ->
            if (method != "workspace/configuration") return@LspPipe null
            (params["items"] as List<*>).map { item ->
                configuration.takeIf { (item as Map<*, *>)["section"] == ServerSettings.SECTION }
            }
        }
    }

    @AfterEach
    fun stop() {
        if (!::server.isInitialized) return
        try {
            server.close()
        } finally {
            server.kill()
        }
    }

    private fun initialize(texts: Map<String, String> = emptyMap()): Map<*, *> {
        val settings = ServerSettings.read(texts).settings
        configuration = settings.section()
        val params = mapOf(
            "processId" to ProcessHandle.current().pid(),
            "clientInfo" to mapOf("name" to "NemoDiff plugin"),
            "rootUri" to folder.toUri().toString(),
            "capabilities" to mapOf(
                "general" to mapOf("positionEncodings" to listOf("utf-16")),
                "workspace" to mapOf("configuration" to true),
                "textDocument" to mapOf("inlineCompletion" to emptyMap<String, Any>()),
            ),
            "workspaceFolders" to listOf(
                mapOf("uri" to folder.toUri().toString(), "name" to "project"),
            ),
            "initializationOptions" to settings.initializationOptions(isTrusted = true),
        )
        val answer = server.ask("initialize", params) as Map<*, *>
        server.tell("initialized", emptyMap<String, Any>())
        // Settings that change under a request end it.
        server.awaitAnswered("workspace/configuration")
        return answer["capabilities"] as Map<*, *>
    }

    private fun open(name: String, text: String = source): String {
        val uri = folder.resolve(name).toUri().toString()
        val document = mapOf(
            "uri" to uri,
            "languageId" to (Languages.idOf(name) ?: "plaintext"),
            "version" to 1,
            "text" to text,
        )
        server.tell("textDocument/didOpen", mapOf("textDocument" to document))
        return uri
    }

    private fun params(uri: String, trigger: Trigger) =
        InlineCompletion.params(uri, Positions.at(source, cursor), trigger)

    private fun ghosts(uri: String, trigger: Trigger): List<String> {
        val answer = server.ask(InlineCompletion.METHOD, params(uri, trigger))
        val items = InlineCompletion.items(answer)
        return InlineCompletion.ghosts(items, source, cursor).map { it.text }
    }

    private fun run(command: ServerCommand): Any? =
        server.ask("workspace/executeCommand", command.toJson())

    private val texts: List<String>
        get() = (Json.parse(System.getProperty("nemodiff.texts")) as List<*>).map { it as String }

    @Test
    fun `the server has inline completion and every command of the plugin`() {
        val capabilities = initialize()
        assertTrue(capabilities["inlineCompletionProvider"] != null)
        val known = (capabilities["executeCommandProvider"] as Map<*, *>)["commands"] as List<*>
        val ready = ServerStatus(ServerStatus.Kind.READY, "Ready.")
        val uri = "file:///a.py"
        val nowhere = Range(Position(0, 0), Position(0, 0))
        val used = StatusMenu.entries(ready, uri).mapNotNull { it.command } + listOf(
            ServerCommands.fillHoles(uri),
            ServerCommands.repair(uri, nowhere),
            ServerCommands.showStatus(),
        )
        assertEquals(emptyList<String>(), used.map { it.name }.filter { it !in known })
    }

    @Test
    fun `typing brings one ghost text, the key brings the alternatives`() {
        initialize()
        val uri = open("a.py")
        assertEquals(texts.take(1), ghosts(uri, Trigger.AUTOMATIC))
        assertEquals(texts, ghosts(uri, Trigger.INVOKED))
    }

    @Test
    fun `the status comes as it changes`() {
        initialize()
        ghosts(open("a.py"), Trigger.AUTOMATIC)
        val status = server.await { told ->
            val params = told.params.takeIf { told.method == ServerStatus.METHOD }
            ServerStatus.of(params)?.takeIf { it.kind == ServerStatus.Kind.READY }
        }
        assertTrue(status.label().startsWith("NemoDiff"))
    }

    @Test
    fun `a request that is cancelled at once is answered as cancelled`() {
        initialize()
        val uri = open("a.py")
        val (id, answer) = server.request(InlineCompletion.METHOD, params(uri, Trigger.AUTOMATIC))
        server.tell("$/cancelRequest", mapOf("id" to id))
        val error = assertThrows(ExecutionException::class.java) { answer.get() }.cause
        assertEquals(REQUEST_CANCELLED, (error as LspError).code)
    }

    @Test
    fun `a file with secrets gets nothing, and why says so`() {
        initialize()
        val uri = open(".env")
        assertEquals(emptyList<String>(), ghosts(uri, Trigger.INVOKED))
        assertTrue((run(ServerCommands.why(uri)) as String).isNotEmpty())
    }

    @Test
    fun `switched off for a file, on again`() {
        initialize()
        val uri = open("a.py")
        val toggle = ServerCommands.toggle(ServerCommands.Scope.FILE, uri)
        assertEquals(mapOf("scope" to "document", "enabled" to false), run(toggle))
        assertEquals(emptyList<String>(), ghosts(uri, Trigger.INVOKED))
        assertEquals(mapOf("scope" to "document", "enabled" to true), run(toggle))
        assertEquals(texts, ghosts(uri, Trigger.INVOKED))
    }

    @Test
    fun `settings of the page reach the server`() {
        initialize(mapOf("disabledLanguages" to "python"))
        assertEquals(emptyList<String>(), ghosts(open("a.py"), Trigger.INVOKED))
        assertEquals(texts, ghosts(open("a.lua"), Trigger.INVOKED))
    }

    @Test
    fun `every setting is known to the server, with its bounds and choices`() {
        val specs = SETTINGS.filter { it.key !in ELSEWHERE }
        initialize(specs.associate { it.key to it.shown(sample(it.kind)) })
        run(ServerCommands.showStatus())
        // What the server says of the command is behind whatever it says of the settings.
        val said = ArrayList<String>()
        server.await { told ->
            val message = (told.params as? Map<*, *>)?.get("message") as? String ?: ""
            if (told.method.startsWith("window/")) said += message
            said.takeIf { told.method == "window/showMessage" && "setting" !in message }
        }
        assertEquals(emptyList<String>(), said.filter { "setting" in it })
    }

    private fun sample(kind: Kind): Any = when (kind) {
        Flag -> true
        Text -> "some"
        is Whole -> kind.high
        is Real -> kind.high
        is Word -> kind.choices.last()
        is Texts -> kind.choices ?: listOf("some")
    }

    @Test
    fun `a restart of the engine and a report can be asked for`() {
        initialize()
        open("a.py")
        assertEquals("ar", run(ServerCommands.setMode("ar")))
        assertTrue("NemoDiff plugin" in run(ServerCommands.report()) as String)
    }

    private companion object {
        const val REQUEST_CANCELLED = -32800

        /** They would lead to another engine. */
        val ELSEWHERE = setOf("engineSocket", "engineUrl", "engineTokenFile", "model")
    }
}
