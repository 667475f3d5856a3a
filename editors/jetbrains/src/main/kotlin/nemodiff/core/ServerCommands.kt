package nemodiff.core

/** A call of `workspace/executeCommand`. */
data class ServerCommand(val name: String, val arguments: Map<String, Any> = emptyMap()) {
    fun toJson(): Map<String, Any> = mapOf("command" to name, "arguments" to listOf(arguments))
}

/** The server's commands, with what each of them needs. */
object ServerCommands {
    fun showStatus() = ServerCommand("nemodiff.showStatus")

    fun why(uri: String?) = ServerCommand("nemodiff.why", known("uri" to uri))

    fun restartEngine() = ServerCommand("nemodiff.restartEngine")

    fun report() = ServerCommand("nemodiff.report")

    fun setMode(mode: String) = ServerCommand("nemodiff.setMode", mapOf("mode" to mode))

    fun toggle(scope: Scope, uri: String? = null) =
        ServerCommand("nemodiff.toggle", known("scope" to scope.word, "uri" to uri))

    fun fillHoles(uri: String, range: Range? = null) =
        ServerCommand("nemodiff.fillHoles", known("uri" to uri, "range" to range?.toJson()))

    fun repair(uri: String, range: Range) =
        ServerCommand("nemodiff.repairRange", mapOf("uri" to uri, "range" to range.toJson()))

    enum class Scope(val word: String) {
        EVERYWHERE("global"), LANGUAGE("language"), FILE("document")
    }

    private fun known(vararg arguments: Pair<String, Any?>): Map<String, Any> =
        arguments.mapNotNull { (name, value) -> value?.let { name to it } }.toMap()
}

/** An entry of the status bar's menu. command: null for what the IDE does itself. */
data class MenuEntry(val label: String, val command: ServerCommand?)

object StatusMenu {
    const val OPEN_SETTINGS = "Settings…"
    const val RESTART_SERVER = "Restart the Server"

    /** The entries for the file that is open, if one is. */
    fun entries(status: ServerStatus, uri: String?): List<MenuEntry> {
        val entries = ArrayList<MenuEntry>()
        if (status.kind != ServerStatus.Kind.STOPPED) {
            entries += MenuEntry("Why Nothing Is Shown", ServerCommands.why(uri))
            val everywhere = ServerCommands.toggle(ServerCommands.Scope.EVERYWHERE)
            entries += MenuEntry("Switch On or Off", everywhere)
            if (uri != null) {
                entries += toggle("for This Language", ServerCommands.Scope.LANGUAGE, uri)
                entries += toggle("for This File", ServerCommands.Scope.FILE, uri)
            }
            val modes = SETTINGS.first { it.key == "mode" }.kind as Word
            entries += modes.choices.map { MenuEntry("Mode: $it", ServerCommands.setMode(it)) }
            entries += MenuEntry("Restart the Engine", ServerCommands.restartEngine())
            entries += MenuEntry("Report for a Bug", ServerCommands.report())
        }
        return entries + MenuEntry(RESTART_SERVER, null) + MenuEntry(OPEN_SETTINGS, null)
    }

    private fun toggle(where: String, scope: ServerCommands.Scope, uri: String) =
        MenuEntry("Switch On or Off $where", ServerCommands.toggle(scope, uri))
}
