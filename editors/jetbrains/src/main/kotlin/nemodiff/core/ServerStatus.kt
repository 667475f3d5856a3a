package nemodiff.core

/**
 * How the server stands, as `nemodiff/didChangeStatus` tells it.
 *
 * message: one sentence. perCent: of the loading. nothingBecause: why the last request came to
 * nothing; null when it did not.
 */
data class ServerStatus(
    val kind: Kind,
    val message: String,
    val perCent: Int? = null,
    val nothingBecause: String? = null,
) {
    enum class Kind { STOPPED, LOADING, READY, BUSY, PAUSED, EXCLUDED, ERROR }

    /** What the status bar shows; short, because it never goes away. */
    fun label(): String = when (kind) {
        Kind.STOPPED -> "NemoDiff: off"
        Kind.LOADING -> if (perCent == null) "NemoDiff: loading" else "NemoDiff: $perCent %"
        Kind.READY -> if (nothingBecause == null) "NemoDiff" else "NemoDiff: nothing"
        Kind.BUSY -> "NemoDiff: …"
        Kind.PAUSED -> "NemoDiff: paused"
        Kind.EXCLUDED -> "NemoDiff: not here"
        Kind.ERROR -> "NemoDiff: error"
    }

    /** What the mouse over it says: the state, and why there was nothing to show. */
    fun tooltip(): String =
        if (nothingBecause == null || nothingBecause == message) message
        else "$message Nothing was shown: $nothingBecause"

    companion object {
        const val METHOD = "nemodiff/didChangeStatus"
        val STOPPED = ServerStatus(Kind.STOPPED, "The language server is not running.")

        /** The notification's params; null for such as a newer server may send. */
        fun of(params: Any?): ServerStatus? {
            val map = params as? Map<*, *> ?: return null
            val name = (map["kind"] as? String)?.uppercase()
            val kind = Kind.entries.firstOrNull { it.name == name } ?: return null
            return ServerStatus(
                kind,
                map["message"] as? String ?: return null,
                (map["perCent"] as? Number)?.toInt()?.coerceIn(0, 100),
                (map["nothingBecause"] as? String)?.ifEmpty { null },
            )
        }
    }
}
