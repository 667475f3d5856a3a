package nemodiff.ide

import com.intellij.openapi.project.Project
import com.redhat.devtools.lsp4ij.ServerStatus as ServerState
import com.redhat.devtools.lsp4ij.client.LanguageClientImpl
import nemodiff.core.ServerSettings
import nemodiff.core.ServerStatus
import org.eclipse.lsp4j.jsonrpc.services.JsonNotification

/** What the server tells and asks beside the standard, handed on to the project. */
class NemodiffLanguageClient(project: Project) : LanguageClientImpl(project) {
    private val nemodiff = NemodiffProject.of(project).also { it.client = this }

    @JsonNotification(ServerStatus.METHOD)
    fun didChangeStatus(params: StatusParams) {
        ServerStatus.of(params.toMap())?.let(nemodiff::show)
    }

    override fun createSettings(): Any = NemodiffSettings.get().server.configuration()

    override fun findSettings(section: String?): Any? =
        if (section == ServerSettings.SECTION) NemodiffSettings.get().server.section() else null

    override fun handleServerStatusChanged(serverStatus: ServerState) {
        if (serverStatus == ServerState.stopping) nemodiff.show(ServerStatus.STOPPED)
    }

    fun settingsChanged() = triggerChangeConfiguration()
}

/** Filled from JSON by name; the JSON reader of lsp4j wants a class with fields. */
class StatusParams {
    var kind: String? = null
    var message: String? = null
    var perCent: Int? = null
    var nothingBecause: String? = null

    fun toMap(): Map<String, Any?> = mapOf(
        "kind" to kind,
        "message" to message,
        "perCent" to perCent,
        "nothingBecause" to nothingBecause,
    )
}
