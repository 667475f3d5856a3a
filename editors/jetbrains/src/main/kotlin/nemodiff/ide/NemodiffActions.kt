package nemodiff.ide

import com.intellij.openapi.actionSystem.ActionUpdateThread
import com.intellij.openapi.actionSystem.AnAction
import com.intellij.openapi.actionSystem.AnActionEvent
import com.intellij.openapi.actionSystem.CommonDataKeys
import com.redhat.devtools.lsp4ij.LSPIJUtils
import nemodiff.core.Positions
import nemodiff.core.Range
import nemodiff.core.ServerCommand
import nemodiff.core.ServerCommands

/** What an action needs of the editor it was called in. */
class ActionPlace(private val event: AnActionEvent) {
    val uri: String? =
        event.getData(CommonDataKeys.VIRTUAL_FILE)?.let { LSPIJUtils.toUri(it).toString() }

    /** The selected range; null without a selection. */
    val selection: Range?
        get() {
            val editor = event.getData(CommonDataKeys.EDITOR) ?: return null
            val selection = editor.getSelectionModel()
            if (!selection.hasSelection()) return null
            val text = editor.getDocument().getCharsSequence()
            val start = Positions.at(text, selection.getSelectionStart())
            return Range(start, Positions.at(text, selection.getSelectionEnd()))
        }
}

/** An action that is a command of the server; command: null where it does not apply. */
abstract class ServerAction(private val command: (ActionPlace) -> ServerCommand?) : AnAction() {
    override fun actionPerformed(event: AnActionEvent) {
        val project = event.getProject() ?: return
        command(ActionPlace(event))?.let { NemodiffProject.of(project).run(it) }
    }

    override fun update(event: AnActionEvent) {
        val isThere = event.getProject() != null && command(ActionPlace(event)) != null
        event.getPresentation().setEnabledAndVisible(isThere)
    }

    // The selection is the event thread's.
    override fun getActionUpdateThread(): ActionUpdateThread = ActionUpdateThread.EDT
}

class WhyAction : ServerAction({ ServerCommands.why(it.uri) })

class StatusAction : ServerAction({ ServerCommands.showStatus() })

class ToggleAction : ServerAction({ ServerCommands.toggle(ServerCommands.Scope.EVERYWHERE) })

class ToggleLanguageAction : ServerAction({ place ->
    place.uri?.let { ServerCommands.toggle(ServerCommands.Scope.LANGUAGE, it) }
})

class ToggleFileAction : ServerAction({ place ->
    place.uri?.let { ServerCommands.toggle(ServerCommands.Scope.FILE, it) }
})

class FillHolesAction : ServerAction({ place ->
    place.uri?.let { ServerCommands.fillHoles(it, place.selection) }
})

class RepairSelectionAction : ServerAction({ place ->
    place.uri?.let { uri -> place.selection?.let { ServerCommands.repair(uri, it) } }
})

class RestartEngineAction : ServerAction({ ServerCommands.restartEngine() })
