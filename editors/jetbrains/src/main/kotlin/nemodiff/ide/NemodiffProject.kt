package nemodiff.ide

import com.intellij.notification.NotificationGroupManager
import com.intellij.notification.NotificationType
import com.intellij.openapi.application.ApplicationManager
import com.intellij.openapi.fileEditor.FileEditorManager
import com.intellij.openapi.project.Project
import com.intellij.openapi.wm.WindowManager
import com.redhat.devtools.lsp4ij.LSPIJUtils
import com.redhat.devtools.lsp4ij.LanguageServerManager
import com.redhat.devtools.lsp4ij.ServerStatus as ServerState
import nemodiff.core.ItemCommand
import nemodiff.core.ServerCommand
import nemodiff.core.ServerStatus
import org.eclipse.lsp4j.ExecuteCommandParams

/** The server of one project: how it stands, and its commands. */
class NemodiffProject(private val project: Project) {
    @Volatile
    var status: ServerStatus = ServerStatus.STOPPED
        private set

    @Volatile
    var client: NemodiffLanguageClient? = null

    private val servers: LanguageServerManager
        get() = LanguageServerManager.getInstance(project)

    val isRunning: Boolean
        get() = servers.getServerStatus(SERVER_ID) == ServerState.started

    /** The uri of the file in the editor that has the focus, as the server knows it. */
    fun currentUri(): String? =
        FileEditorManager.getInstance(project).getSelectedFiles().firstOrNull()
            ?.let { LSPIJUtils.toUri(it).toString() }

    fun show(newStatus: ServerStatus) {
        status = newStatus
        ApplicationManager.getApplication().invokeLater {
            if (!project.isDisposed()) {
                WindowManager.getInstance().getStatusBar(project)?.updateWidget(STATUS_WIDGET_ID)
            }
        }
    }

    /** The server shows results and problems itself, as messages. */
    fun run(command: ServerCommand) = execute(command.name, listOf<Any>(command.arguments))

    fun run(command: ItemCommand) = execute(command.name, command.arguments.filterNotNull())

    fun restart() {
        servers.stop(SERVER_ID)
        servers.start(SERVER_ID)
    }

    fun warn(sentence: String) {
        NotificationGroupManager.getInstance().getNotificationGroup("NemoDiff")
            .createNotification(sentence, NotificationType.WARNING).notify(project)
    }

    private fun execute(name: String, arguments: List<Any>) {
        val params = ExecuteCommandParams(name, arguments)
        servers.getLanguageServer(SERVER_ID).thenAccept { server ->
            if (server == null) warn(ServerStatus.STOPPED.message)
            else server.getWorkspaceService().executeCommand(params)
        }
    }

    companion object {
        const val SERVER_ID = "nemodiff"
        const val STATUS_WIDGET_ID = "nemodiff.status"

        fun of(project: Project): NemodiffProject = project.getService(NemodiffProject::class.java)
    }
}
