package nemodiff.ide

import com.intellij.openapi.application.ApplicationManager
import com.intellij.openapi.components.PersistentStateComponent
import com.intellij.openapi.components.State
import com.intellij.openapi.components.Storage
import nemodiff.core.ServerSettings

/** What the user has chosen, for all projects: kept by the IDE in nemodiff.xml. */
@State(name = "NemoDiff", storages = [Storage("nemodiff.xml")])
class NemodiffSettings : PersistentStateComponent<NemodiffSettings.Stored> {
    /** serverCommand: empty where the plugin looks for it. values: texts by the setting's key. */
    class Stored {
        var serverCommand: String = ""
        var values: MutableMap<String, String> = LinkedHashMap()
    }

    private var stored = Stored()

    override fun getState(): Stored = stored

    override fun loadState(state: Stored) {
        stored = state
    }

    val server: ServerSettings
        get() = ServerSettings.read(stored.values).settings

    companion object {
        fun get(): NemodiffSettings =
            ApplicationManager.getApplication().getService(NemodiffSettings::class.java)
    }
}
