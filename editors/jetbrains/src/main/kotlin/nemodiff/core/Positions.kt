package nemodiff.core

/** A place in a document as the protocol has it: from 0, characters in UTF-16 units. */
data class Position(val line: Int, val character: Int) {
    fun toJson(): Map<String, Any> = mapOf("line" to line, "character" to character)
}

data class Range(val start: Position, val end: Position) {
    fun toJson(): Map<String, Any> = mapOf("start" to start.toJson(), "end" to end.toJson())
}

/** Between places and offsets. The IDE's documents have LF only, and UTF-16 offsets. */
object Positions {
    fun at(text: CharSequence, offset: Int): Position {
        val end = offset.coerceIn(0, text.length)
        var line = 0
        var start = 0
        for (index in 0 until end) {
            if (text[index] == '\n') {
                line++
                start = index + 1
            }
        }
        return Position(line, end - start)
    }

    /** A place's offset; behind the end of its line means that end. Null below the text. */
    fun offset(text: CharSequence, position: Position): Int? {
        if (position.line < 0 || position.character < 0) return null
        var start = 0
        repeat(position.line) {
            val newline = text.indexOf('\n', start)
            if (newline < 0) return null
            start = newline + 1
        }
        val end = text.indexOf('\n', start).let { if (it < 0) text.length else it }
        return minOf(start.toLong() + position.character, end.toLong()).toInt()
    }
}
