package nemodiff.core

/** Why a completion is asked for, with the protocol's number. */
enum class Trigger(val number: Int) { INVOKED(1), AUTOMATIC(2) }

/** A command that an item carries, to be run by the server once the item is in the text. */
data class ItemCommand(val name: String, val arguments: List<Any?>)

/** One completion. range: what it replaces; null stands for the cursor. */
data class InlineItem(val text: String, val range: Range?, val command: ItemCommand?)

/** What is drawn at the cursor, and what to tell when it is taken. */
data class GhostText(val text: String, val command: ItemCommand?)

/** `textDocument/inlineCompletion`: what is asked, and what is made of the answer. */
object InlineCompletion {
    const val METHOD = "textDocument/inlineCompletion"

    fun params(uri: String, position: Position, trigger: Trigger): Map<String, Any> = mapOf(
        "textDocument" to mapOf("uri" to uri),
        "position" to position.toJson(),
        "context" to mapOf("triggerKind" to trigger.number),
    )

    /** The items of an answer: a list, or an object with one. Unreadable items are left out. */
    fun items(answer: Any?): List<InlineItem> {
        val items = (answer as? Map<*, *>)?.get("items") ?: answer
        return (items as? List<*>).orEmpty().mapNotNull(::item)
    }

    /**
     * What may be drawn at `offset` of `document`, without doubles.
     *
     * The IDE draws text at the cursor only. An item that also replaces text left of it must begin
     * with that text, which is cut off; one that replaces text right of it must end with that.
     * Others would be drawn wrongly and are left out.
     */
    fun ghosts(items: List<InlineItem>, document: CharSequence, offset: Int): List<GhostText> =
        items.mapNotNull { item -> ghost(item, document, offset) }.distinctBy { it.text }

    private fun ghost(item: InlineItem, document: CharSequence, offset: Int): GhostText? {
        var text = item.text.replace("\r\n", "\n").replace('\r', '\n')
        if (item.range != null) {
            val start = Positions.offset(document, item.range.start) ?: return null
            val end = Positions.offset(document, item.range.end) ?: return null
            if (start > offset || end < offset) return null
            val before = document.substring(start, offset)
            val after = document.substring(offset, end)
            if (!text.startsWith(before)) return null
            text = text.substring(before.length)
            if (!text.endsWith(after)) return null
            text = text.substring(0, text.length - after.length)
        }
        return if (text.isEmpty()) null else GhostText(text, item.command)
    }

    private fun item(value: Any?): InlineItem? {
        val map = value as? Map<*, *> ?: return null
        // Snippets are never asked for; one would be inserted with its marks.
        val text = map["insertText"] as? String ?: return null
        val range = if (map["range"] == null) null else range(map["range"]) ?: return null
        return InlineItem(text, range, command(map["command"]))
    }

    private fun range(value: Any?): Range? {
        val map = value as? Map<*, *> ?: return null
        return Range(position(map["start"]) ?: return null, position(map["end"]) ?: return null)
    }

    private fun position(value: Any?): Position? {
        val map = value as? Map<*, *> ?: return null
        val line = (map["line"] as? Number)?.toInt() ?: return null
        return Position(line, (map["character"] as? Number)?.toInt() ?: return null)
    }

    private fun command(value: Any?): ItemCommand? {
        val map = value as? Map<*, *> ?: return null
        val name = map["command"] as? String ?: return null
        return ItemCommand(name, (map["arguments"] as? List<*>).orEmpty())
    }
}
