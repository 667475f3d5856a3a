package nemodiff.ide

import com.intellij.openapi.options.ShowSettingsUtil
import com.intellij.openapi.project.Project
import com.intellij.openapi.ui.popup.JBPopupFactory
import com.intellij.openapi.wm.StatusBarWidget
import com.intellij.openapi.wm.StatusBarWidgetFactory
import com.intellij.util.Consumer
import nemodiff.core.MenuEntry
import nemodiff.core.StatusMenu
import java.awt.event.MouseEvent

/** The item in the status bar: how the server stands, with a menu; named in plugin.xml. */
class NemodiffStatusBarFactory : StatusBarWidgetFactory {
    override fun getId(): String = NemodiffProject.STATUS_WIDGET_ID

    override fun getDisplayName(): String = "NemoDiff"

    override fun isAvailable(project: Project): Boolean = true

    override fun createWidget(project: Project): StatusBarWidget = NemodiffStatusBarWidget(project)
}

private class NemodiffStatusBarWidget(private val project: Project) :
    StatusBarWidget, StatusBarWidget.TextPresentation {
    private val nemodiff
        get() = NemodiffProject.of(project)

    override fun ID(): String = NemodiffProject.STATUS_WIDGET_ID

    override fun getPresentation(): StatusBarWidget.WidgetPresentation = this

    override fun getText(): String = nemodiff.status.label()

    override fun getAlignment(): Float = 0f

    override fun getTooltipText(): String = nemodiff.status.tooltip()

    override fun getClickConsumer(): Consumer<MouseEvent> = Consumer(::showMenu)

    private fun showMenu(click: MouseEvent) {
        val entries = StatusMenu.entries(nemodiff.status, nemodiff.currentUri())
        val byLabel = entries.associateBy { it.label }
        JBPopupFactory.getInstance().createPopupChooserBuilder(byLabel.keys.toList())
            .setTitle("NemoDiff")
            .setItemChosenCallback { label -> byLabel[label]?.let(::choose) }
            .createPopup()
            .showUnderneathOf(click.component)
    }

    private fun choose(entry: MenuEntry) {
        val command = entry.command
        when {
            command != null -> nemodiff.run(command)
            entry.label == StatusMenu.RESTART_SERVER -> nemodiff.restart()
            else -> ShowSettingsUtil.getInstance().showSettingsDialog(project, "NemoDiff")
        }
    }
}
