package nemodiff.core

/** What has happened in the editor, in the IDE's words made ours. */
enum class Cause {
    TYPED, CALLED, MENU_MOVED, TAKEN, OTHER;

    companion object {
        /**
         * By the name of the platform's event class: not every class exists in every version, and
         * naming a missing one in code would end in an error.
         */
        fun of(event: String): Cause = when (event) {
            "DocumentChange", "TemplateInserted", "LookupCancelled" -> TYPED
            "DirectCall", "ManualCall" -> CALLED
            "LookupChange" -> MENU_MOVED
            "SuggestionInserted" -> TAKEN
            else -> OTHER
        }
    }
}

/** The editor at that moment. */
data class EditorView(
    val isWritable: Boolean = true,
    val numCarets: Int = 1,
    val hasSelection: Boolean = false,
    val isServerRunning: Boolean = true,
    val isMapped: Boolean = true,
)

/** Whether to ask the server; the server itself decides about pauses, languages and files. */
sealed interface Decision {
    data class Ask(val trigger: Trigger) : Decision

    /** because: a sentence, shown when the user has asked by key. */
    data class Silent(val because: String) : Decision
}

object TriggerPolicy {
    /**
     * Asked on the IDE's event thread, so it looks at nothing but its arguments.
     *
     * There is no wait here: the server waits for the next key as its setting `debounceMs` says,
     * and drops what a newer request replaces.
     */
    fun decide(cause: Cause, view: EditorView): Decision = when {
        cause == Cause.OTHER -> Decision.Silent("Nothing was typed.")
        // The menu has the keys then, and its entry would be drawn twice.
        cause == Cause.MENU_MOVED -> Decision.Silent("The completion menu is open.")
        !view.isMapped -> Decision.Silent("NemoDiff does not know this type of file.")
        !view.isWritable -> Decision.Silent("This file cannot be edited.")
        view.numCarets != 1 -> Decision.Silent("There are several carets.")
        view.hasSelection -> Decision.Silent("Text is selected.")
        !view.isServerRunning -> Decision.Silent("The language server is not running.")
        cause == Cause.CALLED -> Decision.Ask(Trigger.INVOKED)
        else -> Decision.Ask(Trigger.AUTOMATIC)
    }
}

/** The document when a request went out. What came of an older one is not drawn. */
data class Snapshot(val uri: String, val stamp: Long, val offset: Int) {
    fun isStale(now: Snapshot): Boolean = this != now
}
