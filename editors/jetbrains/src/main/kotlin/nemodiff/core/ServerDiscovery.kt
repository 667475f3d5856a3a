package nemodiff.core

import java.nio.file.Files
import java.nio.file.InvalidPathException
import java.nio.file.Path

/** Where the server was found: command line and, in words, by what. */
data class FoundServer(val command: List<String>, val by: String)

/** Looks for `nemodiff`: the user's setting, then Python environments, then PATH. */
class ServerDiscovery(
    private val environment: Map<String, String>,
    private val home: Path,
    private val isWindows: Boolean = false,
    private val isProgram: (Path) -> Boolean = {
        Files.isRegularFile(it) && Files.isExecutable(it)
    },
) {
    sealed interface Outcome {
        data class Found(val server: FoundServer) : Outcome

        /** sentence: what is missing and what to do. */
        data class Missing(val sentence: String) : Outcome
    }

    /**
     * setting: the user's own command line, or empty. trustedFolders: opened projects that the user
     * trusts; a program in any other is not run.
     */
    fun find(setting: String, trustedFolders: List<Path> = emptyList()): Outcome {
        if (setting.isNotBlank()) return ofSetting(setting)
        val found = environments(trustedFolders).firstNotNullOfOrNull { (folder, by) ->
            program(folder)?.let { FoundServer(listOf(it.toString()) + LSP, by) }
        }
        return found?.let { Outcome.Found(it) } ?: Outcome.Missing(NOTHING_FOUND)
    }

    private fun ofSetting(setting: String): Outcome {
        val words = CommandLine.split(setting)
            ?: return Outcome.Missing("The server's command in the settings has an open quote.")
        val program = path(expanded(words.first()))
        val isBare = words.first().none { it == '/' || it == '\\' }
        val there = (if (isBare) onPath(words.first()) else program?.takeIf(isProgram))
            ?: return Outcome.Missing(
                "There is no program '${words.first()}', which the settings name as the server.",
            )
        val arguments = if (words.size > 1) words.drop(1) else LSP
        return Outcome.Found(FoundServer(listOf(there.toString()) + arguments, "the settings"))
    }

    private fun environments(trusted: List<Path>): Sequence<Pair<Path, String>> = sequence {
        for (folder in trusted) {
            for (name in listOf(".venv", "venv")) {
                yield(bin(folder.resolve(name)) to "the project's $name")
            }
        }
        for (variable in listOf("VIRTUAL_ENV", "CONDA_PREFIX")) {
            environment[variable]?.let(::path)?.let { yield(bin(it) to variable) }
        }
        for (folder in pathFolders()) yield(folder to "the PATH")
        yield(home.resolve(".local").resolve("bin") to "the user's programs")
        yield(bin(home.resolve(".nemodiff").resolve("venv")) to "NemoDiff's own environment")
    }

    private fun pathFolders(): List<Path> =
        (environment["PATH"] ?: environment["Path"]).orEmpty().split(if (isWindows) ';' else ':')
            .filter { it.isNotBlank() }.mapNotNull(::path)

    private fun onPath(name: String): Path? = pathFolders().firstNotNullOfOrNull { folder ->
        names(name).map(folder::resolve).firstOrNull(isProgram)
    }

    private fun program(folder: Path): Path? =
        names("nemodiff").map(folder::resolve).firstOrNull(isProgram)

    private fun names(name: String): List<String> =
        if (isWindows) listOf("$name.exe", name) else listOf(name)

    private fun bin(environment: Path): Path =
        environment.resolve(if (isWindows) "Scripts" else "bin")

    private fun expanded(word: String): String =
        if (word.startsWith("~/")) home.resolve(word.drop(2)).toString() else word

    private fun path(text: String): Path? = try {
        Path.of(text).takeIf { it.isAbsolute }
    } catch (_: InvalidPathException) {
        null
    }

    companion object {
        private val LSP = listOf("lsp")
        const val NOTHING_FOUND = "NemoDiff's language server is not here: install it " +
            "(pip install nemodiff), or name its program in Settings | Tools | NemoDiff."
    }
}

/** Splits a command line as a shell would, without expanding anything. */
object CommandLine {
    /** The words; null when a quote is left open or there are none. */
    fun split(text: String): List<String>? {
        val words = ArrayList<String>()
        val word = StringBuilder()
        var quote: Char? = null
        var isWord = false
        for (char in text) {
            when {
                quote != null -> if (char == quote) quote = null else word.append(char)
                char == '"' || char == '\'' -> {
                    quote = char
                    isWord = true
                }
                char.isWhitespace() -> {
                    if (isWord) words += word.toString()
                    word.clear()
                    isWord = false
                }
                else -> {
                    word.append(char)
                    isWord = true
                }
            }
        }
        if (isWord) words += word.toString()
        return words.takeIf { quote == null && it.isNotEmpty() && it.first().isNotEmpty() }
    }
}
