package nemodiff.core

/** The settings that the user has changed, by key; the others are left to the server. */
class ServerSettings private constructor(val chosen: Map<String, Any>) {
    /** What `workspace/configuration` and `didChangeConfiguration` carry under `nemodiff`. */
    fun section(): Map<String, Any> = chosen

    fun configuration(): Map<String, Any> = mapOf(SECTION to section())

    /**
     * What `initialize` carries. The server is asked to tell how it stands, and told whether the
     * user trusts the opened project: in others it reads no settings.
     */
    fun initializationOptions(isTrusted: Boolean): Map<String, Any> =
        mapOf(SECTION to chosen + ("status" to true), "isTrusted" to isTrusted)

    /** A usable set and a sentence for each value that is not. */
    data class Reading(val settings: ServerSettings, val problems: List<String>)

    companion object {
        const val SECTION = "nemodiff"
        private val specs = SETTINGS.associateBy { it.key }

        /**
         * Settings of texts as the settings page holds them. Empty ones are not sent, so that the
         * user's own file and the project's can still choose.
         */
        fun read(texts: Map<String, String>): Reading {
            val chosen = LinkedHashMap<String, Any>()
            val problems = ArrayList<String>()
            for ((key, text) in texts) {
                val spec = specs[key]
                if (spec == null) {
                    problems += "The setting '$key' is not known and ignored."
                } else if (text.isNotBlank()) {
                    try {
                        chosen[key] = spec.kind.parse(text)
                    } catch (problem: ValueProblem) {
                        problems += "The setting '$key' ${problem.message}; it is ignored."
                    }
                }
            }
            return Reading(ServerSettings(chosen), problems)
        }
    }
}
