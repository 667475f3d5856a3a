// Stub for compiling only. Source: redhat-developer/lsp4ij,
// src/main/java/com/redhat/devtools/lsp4ij/LanguageServerFactory.java at 218b7aeb80ac;
// createClientFeatures as in docs/DeveloperGuide.md (compared by hand)
package com.redhat.devtools.lsp4ij;
import com.intellij.openapi.project.Project;
import com.redhat.devtools.lsp4ij.client.LanguageClientImpl;
import com.redhat.devtools.lsp4ij.client.features.LSPClientFeatures;
import com.redhat.devtools.lsp4ij.server.StreamConnectionProvider;
public interface LanguageServerFactory {
    StreamConnectionProvider createConnectionProvider(Project project);
    default LanguageClientImpl createLanguageClient(Project project) { throw new UnsupportedOperationException(); }
    default LSPClientFeatures createClientFeatures() { throw new UnsupportedOperationException(); }
}
