// Stub for compiling only. Source: JetBrains/intellij-community,
// platform/platform-impl/codeinsight-inline/src/com/intellij/codeInsight/inline/completion/
// elements/InlineCompletionGrayTextElement.kt at 9b9ff1657069 (compared by hand)
package com.intellij.codeInsight.inline.completion.elements

interface InlineCompletionElement {
    val text: String
}

class InlineCompletionGrayTextElement(override val text: String) : InlineCompletionElement
