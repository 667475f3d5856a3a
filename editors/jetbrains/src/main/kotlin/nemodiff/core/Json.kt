package nemodiff.core

/** What is wrong with a JSON text, and where. It does not repeat the text. */
class JsonProblem(what: String, at: Int) : Exception("$what at character $at")

/**
 * JSON as plain values: Map, List, String, Boolean, Long, Double and null.
 *
 * The plugin reads so little JSON that a library is not worth a class-path conflict with the IDE's.
 */
object Json {
    fun parse(text: String): Any? = Reader(text).whole()

    fun write(value: Any?): String = StringBuilder().also { put(it, value) }.toString()

    private fun put(out: StringBuilder, value: Any?) {
        when (value) {
            null, is Boolean, is Int, is Long -> out.append(value)
            is Number -> out.append(number(value.toDouble()))
            is String -> quote(out, value)
            is Map<*, *> -> list(out, '{', value.entries, '}') { (key, each) ->
                quote(out, key.toString())
                out.append(':')
                put(out, each)
            }
            is Iterable<*> -> list(out, '[', value, ']') { put(out, it) }
            else -> throw IllegalArgumentException("${value.javaClass.name} is no JSON value")
        }
    }

    private fun number(value: Double): String {
        require(value.isFinite()) { "JSON has no $value" }
        return value.toString()
    }

    private fun <T> list(
        out: StringBuilder,
        open: Char,
        values: Iterable<T>,
        close: Char,
        each: (T) -> Unit,
    ) {
        out.append(open)
        values.forEachIndexed { index, value ->
            if (index > 0) out.append(',')
            each(value)
        }
        out.append(close)
    }

    private fun quote(out: StringBuilder, text: String) {
        out.append('"')
        for (char in text) {
            when {
                char == '"' || char == '\\' -> out.append('\\').append(char)
                char == '\n' -> out.append("\\n")
                // Lone surrogates would not survive UTF-8.
                char < ' ' || char.isSurrogate() -> out.append("\\u%04x".format(char.code))
                else -> out.append(char)
            }
        }
        out.append('"')
    }
}

private const val MAX_DEPTH = 200

private class Reader(private val text: String) {
    private var at = 0
    private var depth = 0

    fun whole(): Any? {
        val value = value()
        if (next() != null) throw problem("more than one value")
        return value
    }

    private fun value(): Any? = when (val char = next()) {
        '{' -> nested { members() }
        '[' -> nested { elements() }
        '"' -> string()
        't' -> word("true", true)
        'f' -> word("false", false)
        'n' -> word("null", null)
        else -> if (char == '-' || char in '0'..'9') number() else throw problem("no value")
    }

    private fun <T> nested(read: () -> T): T {
        if (++depth > MAX_DEPTH) throw problem("too deeply nested")
        at++
        return read().also { depth-- }
    }

    private fun members(): Map<String, Any?> {
        val members = LinkedHashMap<String, Any?>()
        if (ends('}')) return members
        do {
            if (next() != '"') throw problem("no name")
            val name = string()
            take(':')
            members[name] = value()
        } while (goesOn('}'))
        return members
    }

    private fun elements(): List<Any?> {
        val elements = ArrayList<Any?>()
        if (ends(']')) return elements
        do elements += value() while (goesOn(']'))
        return elements
    }

    private fun ends(close: Char): Boolean = (next() == close).also { if (it) at++ }

    private fun goesOn(close: Char): Boolean {
        if (ends(close)) return false
        take(',')
        return true
    }

    private fun take(char: Char) {
        if (next() != char) throw problem("no '$char'")
        at++
    }

    private fun string(): String {
        val out = StringBuilder()
        at++
        while (true) {
            val char = text.getOrNull(at++) ?: throw problem("an endless string")
            when {
                char == '"' -> return out.toString()
                char == '\\' -> out.append(escaped())
                char < ' ' -> throw problem("a bare control character")
                else -> out.append(char)
            }
        }
    }

    private fun escaped(): Char = when (val char = text.getOrNull(at++)) {
        '"', '\\', '/' -> char
        'b' -> '\b'
        'f' -> '\u000c'
        'n' -> '\n'
        'r' -> '\r'
        't' -> '\t'
        'u' -> {
            val digits = text.substring(at, minOf(at + 4, text.length))
            val code = if (digits.length == 4) digits.toIntOrNull(16) else null
            at += 4
            (code ?: throw problem("a wrong \\u escape")).toChar()
        }
        else -> throw problem("a wrong escape")
    }

    private fun number(): Number {
        val found = NUMBER.matchAt(text, at) ?: throw problem("a wrong number")
        at = found.range.last + 1
        val isWhole = found.value.none { it in ".eE" }
        return (if (isWhole) found.value.toLongOrNull() else null) ?: found.value.toDouble()
    }

    private fun <T> word(word: String, value: T): T {
        if (!text.startsWith(word, at)) throw problem("no value")
        at += word.length
        return value
    }

    private fun next(): Char? {
        while (at < text.length && text[at] in " \t\r\n") at++
        return text.getOrNull(at)
    }

    private fun problem(what: String) = JsonProblem(what, minOf(at, text.length))

    private companion object {
        val NUMBER = Regex("-?(0|[1-9][0-9]*)(\\.[0-9]+)?([eE][+-]?[0-9]+)?")
    }
}
