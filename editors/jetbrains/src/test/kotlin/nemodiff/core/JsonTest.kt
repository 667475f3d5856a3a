package nemodiff.core

import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertThrows
import org.junit.jupiter.api.Test

class JsonTest {
    @Test
    fun `values of every kind are read`() {
        val text = """ {"a": [1, -2.5e1, true, false, null], "b": {"c": "d"}, "e": []} """
        val expected = mapOf(
            "a" to listOf(1L, -25.0, true, false, null),
            "b" to mapOf("c" to "d"),
            "e" to emptyList<Any>(),
        )
        assertEquals(expected, Json.parse(text))
    }

    @Test
    fun `escapes are read as what they stand for`() {
        assertEquals("a\"\\/\b\u000c\n\r\té", Json.parse("\"a\\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e9\""))
        assertEquals("😀", Json.parse("\"\\ud83d\\ude00\""))
    }

    @Test
    fun `numbers beyond a Long become doubles`() {
        assertEquals(Long.MIN_VALUE, Json.parse("-9223372036854775808"))
        assertEquals(9.223372036854776E18, Json.parse("9223372036854775808"))
    }

    @Test
    fun `what is no JSON is refused with its place`() {
        val wrong = listOf(
            "", "{", "[1,]", "{\"a\" 1}", "{a: 1}", "01", "1.", "+1", "nul", "'a'", "\"a", "[1] 2",
            "\"\\x\"", "\"\\u12\"", "\"a\nb\"", "[".repeat(1000),
        )
        for (text in wrong) assertThrows(JsonProblem::class.java, { Json.parse(text) }, text)
        val problem = assertThrows(JsonProblem::class.java) { Json.parse("[1, x]") }
        assertEquals("no value at character 4", problem.message)
    }

    @Test
    fun `what is written is read back the same`() {
        val value = mapOf(
            "text" to "line\nline\t\"quoted\" \\ 😀 \u0001 \u2028",
            "list" to listOf(1L, 0.1, true, null, emptyMap<String, Any>()),
        )
        assertEquals(value, Json.parse(Json.write(value)))
    }

    @Test
    fun `half a character survives as an escape`() {
        assertEquals("\"\\ud83d\"", Json.write("\ud83d"))
        assertEquals("\ud83d", Json.parse(Json.write("\ud83d")))
    }

    @Test
    fun `what JSON cannot hold is refused`() {
        assertThrows(IllegalArgumentException::class.java) { Json.write(Double.NaN) }
        assertThrows(IllegalArgumentException::class.java) { Json.write(Any()) }
    }
}
