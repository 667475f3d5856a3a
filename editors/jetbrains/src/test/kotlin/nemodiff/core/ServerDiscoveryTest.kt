package nemodiff.core

import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertNull
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test
import org.junit.jupiter.api.io.TempDir
import java.nio.file.Files
import java.nio.file.Path

class ServerDiscoveryTest {
    private val home = Path.of("/home/user")

    private fun discovery(
        vararg programs: String,
        environment: Map<String, String> = mapOf("PATH" to "/usr/bin:/opt/bin"),
        isWindows: Boolean = false,
    ) = ServerDiscovery(environment, home, isWindows) { it.toString() in programs }

    private fun found(outcome: ServerDiscovery.Outcome) =
        (outcome as ServerDiscovery.Outcome.Found).server

    private fun missing(outcome: ServerDiscovery.Outcome) =
        (outcome as ServerDiscovery.Outcome.Missing).sentence

    @Test
    fun `the user's own command line wins`() {
        val there = discovery("/my/nemodiff", "/usr/bin/nemodiff")
        val server = found(there.find("/my/nemodiff lsp --log-file '/logs/a b.log'"))
        assertEquals(listOf("/my/nemodiff", "lsp", "--log-file", "/logs/a b.log"), server.command)
    }

    @Test
    fun `a bare program of the settings is looked for and gets its subcommand`() {
        val onPath = discovery("/opt/bin/nd")
        assertEquals(listOf("/opt/bin/nd", "lsp"), found(onPath.find("nd")).command)
        val inHome = discovery("/home/user/nd")
        assertEquals(listOf("/home/user/nd", "lsp"), found(inHome.find("~/nd")).command)
    }

    @Test
    fun `a wrong setting is told, nothing else is started instead`() {
        val there = discovery("/usr/bin/nemodiff")
        assertTrue("/no/nemodiff" in missing(there.find("/no/nemodiff")))
        assertTrue("'no'" in missing(there.find("no")))
        assertTrue("quote" in missing(there.find("'/usr/bin/nemodiff")))
    }

    @Test
    fun `a trusted project's environment comes before the others`() {
        val there = discovery("/p/.venv/bin/nemodiff", "/usr/bin/nemodiff")
        val expected = FoundServer(listOf("/p/.venv/bin/nemodiff", "lsp"), "the project's .venv")
        assertEquals(expected, found(there.find("", listOf(Path.of("/p")))))
    }

    @Test
    fun `a program of a project that is not trusted is not run`() {
        val there = discovery("/p/.venv/bin/nemodiff")
        assertEquals(ServerDiscovery.NOTHING_FOUND, missing(there.find("", emptyList())))
    }

    @Test
    fun `active environments come before the PATH`() {
        val environment = mapOf("VIRTUAL_ENV" to "/v", "CONDA_PREFIX" to "/c", "PATH" to "/usr/bin")
        val all = arrayOf("/v/bin/nemodiff", "/c/bin/nemodiff", "/usr/bin/nemodiff")
        val order = all.indices.map { from ->
            found(discovery(*all.drop(from).toTypedArray(), environment = environment).find("")).by
        }
        assertEquals(listOf("VIRTUAL_ENV", "CONDA_PREFIX", "the PATH"), order)
    }

    @Test
    fun `places of the user come last`() {
        val there = discovery("/home/user/.local/bin/nemodiff")
        assertEquals("the user's programs", found(there.find("")).by)
    }

    @Test
    fun `relative folders on the PATH are passed over`() {
        val there = discovery("./nemodiff", "nemodiff", environment = mapOf("PATH" to ".::bin"))
        assertEquals(ServerDiscovery.NOTHING_FOUND, missing(there.find("")))
    }

    @Test
    fun `only what can be run counts`(@TempDir folder: Path) {
        val program = Files.createFile(folder.resolve("nemodiff"))
        val there = ServerDiscovery(mapOf("PATH" to folder.toString()), folder.resolve("home"))
        program.toFile().setExecutable(false)
        assertTrue(there.find("") is ServerDiscovery.Outcome.Missing)
        program.toFile().setExecutable(true)
        assertEquals(listOf(program.toString(), "lsp"), found(there.find("")).command)
    }

    @Test
    fun `command lines are split as a shell does`() {
        assertEquals(listOf("a", "b c", "d'e", ""), CommandLine.split(" a 'b c'  \"d'e\" '' "))
        assertNull(CommandLine.split("a 'b"))
        assertNull(CommandLine.split("   "))
        assertNull(CommandLine.split("'' a"))
    }
}
