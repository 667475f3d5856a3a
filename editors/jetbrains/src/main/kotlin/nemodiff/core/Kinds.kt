package nemodiff.core

/** Why a value cannot be used, as the end of a sentence: "must be a whole number". */
class ValueProblem(message: String) : Exception(message)

/** What values a setting takes. `parse` reads what the user has typed; raises ValueProblem. */
sealed interface Kind {
    fun parse(text: String): Any
}

data object Flag : Kind {
    override fun parse(text: String): Boolean = when (text.trim().lowercase()) {
        "true" -> true
        "false" -> false
        else -> throw ValueProblem("must be true or false")
    }
}

data object Text : Kind {
    override fun parse(text: String): String = text.trim()
}

data class Word(val choices: List<String>) : Kind {
    override fun parse(text: String): String {
        val word = text.trim()
        if (word !in choices) throw ValueProblem("must be one of ${choices.joinToString()}")
        return word
    }
}

data class Whole(val low: Long, val high: Long) : Kind {
    override fun parse(text: String): Long {
        val number = text.trim().toLongOrNull() ?: throw ValueProblem("must be a whole number")
        if (number !in low..high) throw ValueProblem("must be from $low to $high")
        return number
    }
}

data class Real(val low: Double, val high: Double) : Kind {
    override fun parse(text: String): Double {
        val number = text.trim().toDoubleOrNull() ?: throw ValueProblem("must be a number")
        // Written so that NaN is refused, too.
        if (!(number >= low && number <= high)) throw ValueProblem("must be from $low to $high")
        return number
    }
}

/** Words with commas between them; `choices` is null where any will do. */
data class Texts(val choices: List<String>?) : Kind {
    override fun parse(text: String): List<String> {
        val words = text.split(',').map { it.trim() }.filter { it.isNotEmpty() }
        val odd = words.firstOrNull { choices != null && it !in choices }
        if (odd != null) throw ValueProblem("must be some of ${choices.orEmpty().joinToString()}")
        return words
    }
}

/** One setting of the server. default: null where the server or the engine chooses. */
data class SettingSpec(
    val key: String,
    val kind: Kind,
    val default: Any?,
    val isUserOnly: Boolean,
    val meaning: String,
) {
    /** As the settings page shows a value of this kind. */
    fun shown(value: Any?): String = when (value) {
        null -> ""
        is List<*> -> value.joinToString(", ")
        else -> value.toString()
    }
}
