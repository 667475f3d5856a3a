// Stub for compiling only. Source: redhat-developer/lsp4ij,
// src/main/java/com/redhat/devtools/lsp4ij/LanguageServerManager.java at 3cf7a10dbc80 (compared by
// hand)
package com.redhat.devtools.lsp4ij;
import com.intellij.openapi.project.Project;
import java.util.concurrent.CompletableFuture;
public class LanguageServerManager {
    public static LanguageServerManager getInstance(Project project) { throw new UnsupportedOperationException(); }
    public ServerStatus getServerStatus(String languageServerId) { throw new UnsupportedOperationException(); }
    public void start(String languageServerId) {}
    public void stop(String languageServerId) {}
    public CompletableFuture<LanguageServerItem> getLanguageServer(String languageServerId) { throw new UnsupportedOperationException(); }
}
