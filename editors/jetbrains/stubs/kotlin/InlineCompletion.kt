// Stub for compiling only. Source: JetBrains/intellij-community,
// platform/platform-impl/codeinsight-inline/src/com/intellij/codeInsight/inline/completion/
// InlineCompletionProvider.kt at 0d756ce25492, InlineCompletionEvent.kt at 05fc59300692,
// InlineCompletionInsertHandler.kt at 72b8966bf039 (compared by hand, with api-dump.txt there)
package com.intellij.codeInsight.inline.completion

import com.intellij.codeInsight.inline.completion.elements.InlineCompletionElement
import com.intellij.codeInsight.inline.completion.suggestion.InlineCompletionSuggestion
import com.intellij.codeInsight.lookup.LookupElement
import com.intellij.openapi.editor.Document
import com.intellij.openapi.editor.Editor
import com.intellij.openapi.util.UserDataHolderBase
import com.intellij.psi.PsiFile

@JvmInline
value class InlineCompletionProviderID(val id: String)

interface InlineCompletionEvent {
    fun toRequest(): InlineCompletionRequest?
}

class InlineCompletionRequest(
    val event: InlineCompletionEvent,
    val file: PsiFile,
    val editor: Editor,
    val document: Document,
    val startOffset: Int,
    val endOffset: Int,
    val lookupElement: LookupElement? = null,
) : UserDataHolderBase()

class InlineCompletionInsertEnvironment(val editor: Editor, val file: PsiFile) :
    UserDataHolderBase()

interface InlineCompletionInsertHandler {
    fun afterInsertion(
        environment: InlineCompletionInsertEnvironment,
        elements: List<InlineCompletionElement>,
    )
}

open class DefaultInlineCompletionInsertHandler : InlineCompletionInsertHandler {
    override fun afterInsertion(
        environment: InlineCompletionInsertEnvironment,
        elements: List<InlineCompletionElement>,
    ): Unit = throw UnsupportedOperationException()
}

interface InlineCompletionProvider {
    val id: InlineCompletionProviderID
    val insertHandler: InlineCompletionInsertHandler
        get() = throw UnsupportedOperationException()

    suspend fun getSuggestion(request: InlineCompletionRequest): InlineCompletionSuggestion

    fun isEnabled(event: InlineCompletionEvent): Boolean
}
