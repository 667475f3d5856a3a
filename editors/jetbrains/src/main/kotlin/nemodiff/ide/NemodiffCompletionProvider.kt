package nemodiff.ide

import com.intellij.codeInsight.inline.completion.DefaultInlineCompletionInsertHandler
import com.intellij.codeInsight.inline.completion.InlineCompletionEvent
import com.intellij.codeInsight.inline.completion.InlineCompletionInsertEnvironment
import com.intellij.codeInsight.inline.completion.InlineCompletionInsertHandler
import com.intellij.codeInsight.inline.completion.InlineCompletionProvider
import com.intellij.codeInsight.inline.completion.InlineCompletionProviderID
import com.intellij.codeInsight.inline.completion.InlineCompletionRequest
import com.intellij.codeInsight.inline.completion.elements.InlineCompletionElement
import com.intellij.codeInsight.inline.completion.elements.InlineCompletionGrayTextElement
import com.intellij.codeInsight.inline.completion.suggestion.InlineCompletionSuggestion
import com.intellij.codeInsight.inline.completion.suggestion.InlineCompletionVariant
import com.intellij.openapi.application.readAction
import com.intellij.openapi.util.UserDataHolderBase
import com.redhat.devtools.lsp4ij.LSPIJUtils
import com.redhat.devtools.lsp4ij.LanguageServerManager
import kotlinx.coroutines.future.await
import nemodiff.core.Cause
import nemodiff.core.Decision
import nemodiff.core.EditorView
import nemodiff.core.GhostText
import nemodiff.core.InlineCompletion
import nemodiff.core.Languages
import nemodiff.core.Positions
import nemodiff.core.Snapshot
import nemodiff.core.Trigger
import nemodiff.core.TriggerPolicy

/** The IDE asks here for ghost text; named in plugin.xml. */
class NemodiffCompletionProvider : InlineCompletionProvider {
    override val id = InlineCompletionProviderID(NemodiffCompletionProvider::class.java.name)
    override val insertHandler: InlineCompletionInsertHandler = TellServer()

    @Volatile
    private var shown: List<GhostText> = emptyList()

    override fun isEnabled(event: InlineCompletionEvent): Boolean {
        val request = event.toRequest() ?: return false
        return decision(request) is Decision.Ask
    }

    /** Cancelled by the IDE when it becomes pointless, which cancels the request at the server. */
    override suspend fun getSuggestion(
        request: InlineCompletionRequest,
    ): InlineCompletionSuggestion {
        val decision = readAction { decision(request) } as? Decision.Ask ?: return NOTHING
        val asked = readAction { Asked.of(request, decision.trigger) }
        val project = request.file.getProject()
        val server = LanguageServerManager.getInstance(project)
            .getLanguageServer(NemodiffProject.SERVER_ID).await() ?: return NOTHING
        val answer = server.getTextDocumentService().inlineCompletion(asked.params).await()
        val ghosts = readAction {
            val now = Asked.snapshot(request)
            if (asked.snapshot.isStale(now)) return@readAction emptyList()
            val text = request.document.getCharsSequence()
            InlineCompletion.ghosts(Lsp4j.items(answer), text, now.offset)
        }
        shown = ghosts
        return if (ghosts.isEmpty()) NOTHING else Variants(ghosts)
    }

    private fun decision(request: InlineCompletionRequest): Decision {
        val editor = request.editor
        val file = request.file.getVirtualFile()
        val view = EditorView(
            isWritable = !editor.isViewer() && request.document.isWritable(),
            numCarets = editor.getCaretModel().getCaretCount(),
            hasSelection = editor.getSelectionModel().hasSelection(),
            isServerRunning = NemodiffProject.of(request.file.getProject()).isRunning,
            isMapped = file != null && Languages.idOf(file.getName()) != null,
        )
        return TriggerPolicy.decide(Cause.of(request.event.javaClass.simpleName), view)
    }

    private inner class TellServer : DefaultInlineCompletionInsertHandler() {
        override fun afterInsertion(
            environment: InlineCompletionInsertEnvironment,
            elements: List<InlineCompletionElement>,
        ) {
            super.afterInsertion(environment, elements)
            val text = elements.joinToString("") { it.text }
            val command = shown.firstOrNull { it.text == text }?.command ?: return
            NemodiffProject.of(environment.file.getProject()).run(command)
        }
    }

    private class Variants(private val ghosts: List<GhostText>) : InlineCompletionSuggestion {
        override suspend fun getVariants(): List<InlineCompletionVariant> = ghosts.map { ghost ->
            InlineCompletionVariant.build(UserDataHolderBase()) {
                emit(InlineCompletionGrayTextElement(ghost.text))
            }
        }
    }

    private companion object {
        val NOTHING = InlineCompletionSuggestion.Empty
    }
}

/** One request, and what the editor was like when it went out. */
private class Asked(val snapshot: Snapshot, val params: org.eclipse.lsp4j.InlineCompletionParams) {
    companion object {
        fun of(request: InlineCompletionRequest, trigger: Trigger): Asked {
            val snapshot = snapshot(request)
            val position = Positions.at(request.document.getCharsSequence(), snapshot.offset)
            return Asked(snapshot, Lsp4j.params(snapshot.uri, position, trigger))
        }

        fun snapshot(request: InlineCompletionRequest) = Snapshot(
            LSPIJUtils.toUri(request.file.getVirtualFile()).toString(),
            request.document.getModificationStamp(),
            request.editor.getCaretModel().getOffset(),
        )
    }
}
