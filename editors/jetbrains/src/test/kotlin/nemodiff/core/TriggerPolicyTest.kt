package nemodiff.core

import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertFalse
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test

class TriggerPolicyTest {
    private fun decide(event: String, view: EditorView = EditorView()) =
        TriggerPolicy.decide(Cause.of(event), view)

    @Test
    fun `typing asks automatically`() {
        assertEquals(Decision.Ask(Trigger.AUTOMATIC), decide("DocumentChange"))
        assertEquals(Decision.Ask(Trigger.AUTOMATIC), decide("TemplateInserted"))
    }

    @Test
    fun `the key asks for alternatives`() {
        assertEquals(Decision.Ask(Trigger.INVOKED), decide("DirectCall"))
        assertEquals(Decision.Ask(Trigger.INVOKED), decide("ManualCall"))
    }

    @Test
    fun `a taken completion is followed by the next`() {
        assertEquals(Decision.Ask(Trigger.AUTOMATIC), decide("SuggestionInserted"))
    }

    @Test
    fun `moving through the menu does not ask, closing it does`() {
        assertEquals(Decision.Silent("The completion menu is open."), decide("LookupChange"))
        assertEquals(Decision.Ask(Trigger.AUTOMATIC), decide("LookupCancelled"))
    }

    @Test
    fun `events of other versions of the platform do not ask`() {
        for (event in listOf("Backspace", "EditorFocused", "InsertNextWord", "SomethingNew", "")) {
            assertTrue(decide(event) is Decision.Silent, event)
        }
    }

    @Test
    fun `where nothing can be drawn nothing is asked, and the reason is said`() {
        val views = listOf(
            EditorView(isWritable = false) to "This file cannot be edited.",
            EditorView(numCarets = 2) to "There are several carets.",
            EditorView(numCarets = 0) to "There are several carets.",
            EditorView(hasSelection = true) to "Text is selected.",
            EditorView(isServerRunning = false) to "The language server is not running.",
            EditorView(isMapped = false) to "NemoDiff does not know this type of file.",
        )
        for ((view, because) in views) {
            assertEquals(Decision.Silent(because), decide("DirectCall", view))
        }
    }

    @Test
    fun `an answer is stale as soon as text or caret have moved`() {
        val asked = Snapshot("file:///a.py", stamp = 7, offset = 3)
        assertFalse(asked.isStale(asked.copy()))
        assertTrue(asked.isStale(asked.copy(stamp = 8)))
        assertTrue(asked.isStale(asked.copy(offset = 4)))
        assertTrue(asked.isStale(asked.copy(uri = "file:///b.py")))
    }
}

class ServerCommandsTest {
    @Test
    fun `arguments go by name and what is not known is left out`() {
        assertEquals(
            mapOf(
                "command" to "nemodiff.why",
                "arguments" to listOf(mapOf("uri" to "file:///a.py")),
            ),
            ServerCommands.why("file:///a.py").toJson(),
        )
        assertEquals(emptyMap<String, Any>(), ServerCommands.why(null).arguments)
    }

    @Test
    fun `a range goes as the protocol has it`() {
        val range = Range(Position(0, 1), Position(2, 3))
        val expected = mapOf(
            "start" to mapOf("line" to 0, "character" to 1),
            "end" to mapOf("line" to 2, "character" to 3),
        )
        assertEquals(expected, ServerCommands.repair("file:///a.py", range).arguments["range"])
    }

    @Test
    fun `the menu of a stopped server offers to start it`() {
        val labels = StatusMenu.entries(ServerStatus.STOPPED, null).map { it.label }
        assertEquals(listOf(StatusMenu.RESTART_SERVER, StatusMenu.OPEN_SETTINGS), labels)
    }

    @Test
    fun `the menu has a mode for each that the server knows, and labels but once`() {
        val ready = ServerStatus(ServerStatus.Kind.READY, "Ready.")
        val entries = StatusMenu.entries(ready, "file:///a.py")
        assertEquals(5, entries.count { it.command?.name == "nemodiff.setMode" })
        assertEquals(entries.size, entries.map { it.label }.toSet().size)
        val scopes = entries.mapNotNull { it.command?.arguments?.get("scope") }
        assertEquals(listOf("global", "language", "document"), scopes)
    }
}

class LanguagesTest {
    @Test
    fun `the id follows from the name`() {
        assertEquals("python", Languages.idOf("a.PY"))
        assertEquals("typescriptreact", Languages.idOf("a.b.tsx"))
        assertEquals(null, Languages.idOf("Makefile"))
        assertEquals(null, Languages.idOf(".env"))
    }

    @Test
    fun `no pattern leads to two languages`() {
        val patterns = Languages.PATTERNS.values.flatten()
        assertEquals(patterns.size, patterns.toSet().size)
        assertTrue(patterns.all { Regex("\\*\\.[a-z]+").matches(it) })
    }
}
