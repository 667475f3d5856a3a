package nemodiff.ide

import com.intellij.openapi.options.Configurable
import com.intellij.openapi.options.ConfigurationException
import com.intellij.openapi.project.ProjectManager
import nemodiff.core.Flag
import nemodiff.core.SETTINGS
import nemodiff.core.ServerSettings
import nemodiff.core.SettingSpec
import nemodiff.core.Word
import java.awt.BorderLayout
import java.awt.GridLayout
import javax.swing.JComboBox
import javax.swing.JComponent
import javax.swing.JLabel
import javax.swing.JPanel
import javax.swing.JTextField

/** Settings | Tools | NemoDiff, made from the server's own list of settings. */
class NemodiffConfigurable : Configurable {
    private var command = JTextField()
    private var fields: Map<String, Field> = emptyMap()

    override fun getDisplayName(): String = "NemoDiff"

    override fun createComponent(): JComponent {
        command = JTextField()
        fields = SETTINGS.associate { it.key to Field(it) }
        val rows = JPanel(GridLayout(0, 2, GAP, GAP))
        row(rows, "Server's command line", "the program nemodiff; empty: it is looked for", command)
        for (spec in SETTINGS) row(rows, spec.key, hint(spec), fields.getValue(spec.key).component)
        reset()
        return JPanel(BorderLayout()).apply { add(rows, BorderLayout.NORTH) }
    }

    override fun isModified(): Boolean {
        val stored = NemodiffSettings.get().getState()
        return command.text != stored.serverCommand || texts() != stored.values
    }

    override fun apply() {
        val texts = texts()
        val problems = ServerSettings.read(texts).problems
        if (problems.isNotEmpty()) throw ConfigurationException(problems.joinToString("\n"))
        val stored = NemodiffSettings.get().getState()
        val isOtherServer = stored.serverCommand != command.text
        stored.serverCommand = command.text
        stored.values = LinkedHashMap(texts)
        for (project in ProjectManager.getInstance().getOpenProjects()) {
            val nemodiff = NemodiffProject.of(project)
            if (isOtherServer) nemodiff.restart() else nemodiff.client?.settingsChanged()
        }
    }

    override fun reset() {
        val stored = NemodiffSettings.get().getState()
        command.text = stored.serverCommand
        for ((key, field) in fields) field.text = stored.values[key].orEmpty()
    }

    private fun texts(): Map<String, String> =
        fields.mapValues { it.value.text }.filterValues { it.isNotBlank() }

    private fun hint(spec: SettingSpec): String {
        val default = if (spec.default == null) "chosen by the server" else spec.shown(spec.default)
        return "${spec.meaning} (default: ${default.ifEmpty { "none" }})"
    }

    private fun row(rows: JPanel, name: String, hint: String, component: JComponent) {
        rows.add(JLabel(name).apply { toolTipText = hint })
        rows.add(component.apply { toolTipText = hint })
    }

    /** One setting's control; an empty text leaves the choice to the server. */
    private class Field(spec: SettingSpec) {
        val component: JComponent = when (val kind = spec.kind) {
            Flag -> JComboBox(arrayOf("", "true", "false"))
            is Word -> JComboBox((listOf("") + kind.choices).toTypedArray())
            else -> JTextField()
        }

        var text: String
            get() = when (component) {
                is JComboBox<*> -> component.selectedItem?.toString().orEmpty()
                else -> (component as JTextField).text.trim()
            }
            set(value) = when (component) {
                is JComboBox<*> -> component.selectedItem = value
                else -> (component as JTextField).text = value
            }
    }

    private companion object {
        const val GAP = 4
    }
}
