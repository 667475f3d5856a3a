package nemodiff.core

import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertNull
import org.junit.jupiter.api.Test

class PositionsTest {
    private val text = "a😀b\n\nlast"

    @Test
    fun `offsets become places and places offsets`() {
        for (offset in 0..text.length) {
            assertEquals(offset, Positions.offset(text, Positions.at(text, offset)))
        }
        assertEquals(Position(0, 4), Positions.at(text, 4))
        assertEquals(Position(2, 1), Positions.at(text, 7))
    }

    @Test
    fun `a place behind the end of its line is that end`() {
        assertEquals(4, Positions.offset(text, Position(0, Int.MAX_VALUE)))
        assertEquals(text.length, Positions.offset(text, Position(2, 99)))
    }

    @Test
    fun `a place below the text is none`() {
        assertNull(Positions.offset(text, Position(3, 0)))
        assertNull(Positions.offset(text, Position(-1, 0)))
    }

    @Test
    fun `an offset outside the text is brought into it`() {
        assertEquals(Position(0, 0), Positions.at(text, -1))
        assertEquals(Position(2, 4), Positions.at(text, 99))
    }
}

class InlineCompletionTest {
    private val document = "x = (\ny"

    private fun range(start: Int, end: Int) =
        Range(Positions.at(document, start), Positions.at(document, end))

    private fun ghosts(offset: Int, vararg items: InlineItem) =
        InlineCompletion.ghosts(items.toList(), document, offset).map { it.text }

    @Test
    fun `a request names the place and why it is made`() {
        val expected = mapOf(
            "textDocument" to mapOf("uri" to "file:///a.py"),
            "position" to mapOf("line" to 1, "character" to 2),
            "context" to mapOf("triggerKind" to 1),
        )
        val position = Position(1, 2)
        assertEquals(expected, InlineCompletion.params("file:///a.py", position, Trigger.INVOKED))
        assertEquals(2, Trigger.AUTOMATIC.number)
    }

    @Test
    fun `items come from a list, an object and nothing`() {
        val item = mapOf("insertText" to "a")
        assertEquals(listOf(InlineItem("a", null, null)), InlineCompletion.items(listOf(item)))
        assertEquals(1, InlineCompletion.items(mapOf("items" to listOf(item))).size)
        assertEquals(emptyList<InlineItem>(), InlineCompletion.items(null))
    }

    @Test
    fun `unreadable items are left out, the others stay`() {
        val snippet = mapOf("insertText" to mapOf("kind" to "snippet", "value" to "\$0"))
        val wrongRange = mapOf("insertText" to "b", "range" to mapOf("start" to 1))
        val answer = listOf(snippet, wrongRange, 7, null, mapOf("insertText" to "a"))
        assertEquals(listOf("a"), InlineCompletion.items(answer).map { it.text })
    }

    @Test
    fun `an item's command is kept with its arguments`() {
        val command = mapOf("command" to "nemodiff.didAccept", "arguments" to listOf("id", 3L))
        val items = InlineCompletion.items(listOf(mapOf("insertText" to "a", "command" to command)))
        val kept = InlineCompletion.ghosts(items, document, 5).single().command
        assertEquals(ItemCommand("nemodiff.didAccept", listOf("id", 3L)), kept)
    }

    @Test
    fun `text at the cursor is drawn as it is`() {
        assertEquals(listOf("1)"), ghosts(5, InlineItem("1)", range(5, 5), null)))
        assertEquals(listOf("1)"), ghosts(5, InlineItem("1)", null, null)))
    }

    @Test
    fun `what stands left of the cursor is cut off by comparing`() {
        assertEquals(listOf("1)"), ghosts(5, InlineItem("x = (1)", range(0, 5), null)))
        assertEquals(emptyList<String>(), ghosts(5, InlineItem("z = (1)", range(0, 5), null)))
    }

    @Test
    fun `what stands right of the cursor must be the end of the text`() {
        assertEquals(listOf("1"), ghosts(4, InlineItem("1(", range(4, 5), null)))
        assertEquals(emptyList<String>(), ghosts(4, InlineItem("1)", range(4, 5), null)))
    }

    @Test
    fun `a range elsewhere is not drawn`() {
        assertEquals(emptyList<String>(), ghosts(2, InlineItem("1", range(4, 5), null)))
        val below = Range(Position(9, 0), Position(9, 0))
        assertEquals(emptyList<String>(), ghosts(2, InlineItem("1", below, null)))
    }

    @Test
    fun `line ends become the IDE's own`() {
        assertEquals(listOf("1\n2\n3"), ghosts(5, InlineItem("1\r\n2\r3", null, null)))
    }

    @Test
    fun `doubles and empty texts are left out`() {
        val items = listOf("a", "", "a", "b").map { InlineItem(it, null, null) }
        assertEquals(listOf("a", "b"), ghosts(5, *items.toTypedArray()))
    }
}
