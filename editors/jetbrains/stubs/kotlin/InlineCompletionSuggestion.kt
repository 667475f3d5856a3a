// Stub for compiling only. Source: JetBrains/intellij-community,
// platform/platform-impl/codeinsight-inline/src/com/intellij/codeInsight/inline/completion/
// suggestion/InlineCompletionSuggestion.kt at 7d802ca10efc and InlineCompletionVariant.kt at
// c0a175150e7d (compared by hand)
package com.intellij.codeInsight.inline.completion.suggestion

import com.intellij.codeInsight.inline.completion.elements.InlineCompletionElement
import com.intellij.openapi.util.UserDataHolderBase
import kotlinx.coroutines.flow.Flow
import kotlinx.coroutines.flow.FlowCollector

interface InlineCompletionSuggestion {
    suspend fun getVariants(): List<InlineCompletionVariant>

    object Empty : InlineCompletionSuggestion {
        override suspend fun getVariants(): List<InlineCompletionVariant> = emptyList()
    }
}

interface InlineCompletionVariant {
    val data: UserDataHolderBase
    val elements: Flow<InlineCompletionElement>

    companion object {
        fun build(
            data: UserDataHolderBase = UserDataHolderBase(),
            buildElements: suspend FlowCollector<InlineCompletionElement>.(
                data: UserDataHolderBase,
            ) -> Unit,
        ): InlineCompletionVariant = throw UnsupportedOperationException()
    }
}
