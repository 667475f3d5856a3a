// Stub for compiling only. Source: redhat-developer/lsp4ij,
// src/main/java/com/redhat/devtools/lsp4ij/client/features/LSPInlineCompletionFeature.java at
// 69ea23369174 (compared by hand)
package com.redhat.devtools.lsp4ij.client.features;
import com.intellij.psi.PsiFile;
public class LSPInlineCompletionFeature {
    public boolean isSupported(PsiFile file) { throw new UnsupportedOperationException(); }
    public boolean isEnabled(PsiFile file) { throw new UnsupportedOperationException(); }
}
