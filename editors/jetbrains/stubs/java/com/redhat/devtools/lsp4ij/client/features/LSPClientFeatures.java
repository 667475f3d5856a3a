// Stub for compiling only. Source: redhat-developer/lsp4ij,
// src/main/java/com/redhat/devtools/lsp4ij/client/features/LSPClientFeatures.java at 69ea23369174
// (compared by hand)
package com.redhat.devtools.lsp4ij.client.features;
import org.eclipse.lsp4j.InitializeParams;
public class LSPClientFeatures {
    public final com.intellij.openapi.project.Project getProject() { throw new UnsupportedOperationException(); }
    public void initializeParams(InitializeParams initializeParams) {}
    public final LSPClientFeatures setInlineCompletionFeature(LSPInlineCompletionFeature feature) { throw new UnsupportedOperationException(); }
}
