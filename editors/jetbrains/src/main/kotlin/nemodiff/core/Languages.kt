package nemodiff.core

/**
 * Files that the server is started for, and the language ids it is told.
 *
 * plugin.xml and the template for LSP4IJ say the same once more, because they cannot ask here; a
 * test compares the three.
 */
object Languages {
    val PATTERNS: Map<String, List<String>> = mapOf(
        "c" to listOf("*.c", "*.h"),
        "cpp" to listOf("*.cpp", "*.cc", "*.cxx", "*.hpp", "*.hh"),
        "csharp" to listOf("*.cs"),
        "css" to listOf("*.css"),
        "go" to listOf("*.go"),
        "html" to listOf("*.html"),
        "java" to listOf("*.java"),
        "javascript" to listOf("*.js", "*.mjs", "*.cjs"),
        "javascriptreact" to listOf("*.jsx"),
        "json" to listOf("*.json"),
        "kotlin" to listOf("*.kt", "*.kts"),
        "lua" to listOf("*.lua"),
        "markdown" to listOf("*.md"),
        "php" to listOf("*.php"),
        "python" to listOf("*.py", "*.pyi"),
        "ruby" to listOf("*.rb"),
        "rust" to listOf("*.rs"),
        "scala" to listOf("*.scala"),
        "shellscript" to listOf("*.sh", "*.bash"),
        "sql" to listOf("*.sql"),
        "swift" to listOf("*.swift"),
        "toml" to listOf("*.toml"),
        "typescript" to listOf("*.ts", "*.mts", "*.cts"),
        "typescriptreact" to listOf("*.tsx"),
        "yaml" to listOf("*.yaml", "*.yml"),
    )

    private val byExtension = PATTERNS.flatMap { (id, patterns) ->
        patterns.map { it.removePrefix("*.") to id }
    }.toMap()

    /** The language id of a file by its name; null for files that the server is not started for. */
    fun idOf(fileName: String): String? {
        val extension = fileName.substringAfterLast('.', "").lowercase()
        return byExtension[extension]
    }
}
