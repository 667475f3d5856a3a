// Stub for compiling only. Source: redhat-developer/lsp4ij,
// src/main/java/com/redhat/devtools/lsp4ij/LanguageServerItem.java at 00d1d21c1d62 (compared by
// hand)
package com.redhat.devtools.lsp4ij;
public class LanguageServerItem {
    public org.eclipse.lsp4j.services.TextDocumentService getTextDocumentService() { throw new UnsupportedOperationException(); }
    public org.eclipse.lsp4j.services.WorkspaceService getWorkspaceService() { throw new UnsupportedOperationException(); }
}
