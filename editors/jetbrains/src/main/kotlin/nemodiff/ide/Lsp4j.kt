package nemodiff.ide

import nemodiff.core.InlineItem
import nemodiff.core.ItemCommand
import nemodiff.core.Position
import nemodiff.core.Range
import nemodiff.core.Trigger
import org.eclipse.lsp4j.InlineCompletionContext
import org.eclipse.lsp4j.InlineCompletionItem
import org.eclipse.lsp4j.InlineCompletionList
import org.eclipse.lsp4j.InlineCompletionParams
import org.eclipse.lsp4j.InlineCompletionTriggerKind
import org.eclipse.lsp4j.TextDocumentIdentifier
import org.eclipse.lsp4j.jsonrpc.messages.Either

/** Between lsp4j's classes and ours. */
object Lsp4j {
    fun params(uri: String, position: Position, trigger: Trigger): InlineCompletionParams {
        val context = InlineCompletionContext()
        context.setTriggerKind(
            when (trigger) {
                Trigger.INVOKED -> InlineCompletionTriggerKind.Invoked
                Trigger.AUTOMATIC -> InlineCompletionTriggerKind.Automatic
            },
        )
        val params = InlineCompletionParams()
        params.setTextDocument(TextDocumentIdentifier(uri))
        params.setPosition(org.eclipse.lsp4j.Position(position.line, position.character))
        params.setContext(context)
        return params
    }

    fun items(answer: Either<List<InlineCompletionItem>, InlineCompletionList>?): List<InlineItem> {
        if (answer == null) return emptyList()
        val items = if (answer.isLeft()) answer.getLeft() else answer.getRight().getItems()
        return items.orEmpty().mapNotNull(::item)
    }

    private fun item(item: InlineCompletionItem): InlineItem? {
        // Snippets are never asked for; one would be inserted with its marks.
        val text = item.getInsertText()?.takeIf { it.isLeft() }?.getLeft() ?: return null
        val range = item.getRange()?.let { Range(position(it.getStart()), position(it.getEnd())) }
        val command = item.getCommand()?.let {
            ItemCommand(it.getCommand(), it.getArguments().orEmpty())
        }
        return InlineItem(text, range, command)
    }

    private fun position(position: org.eclipse.lsp4j.Position) =
        Position(position.getLine(), position.getCharacter())
}
