// Stub for compiling only. Source: redhat-developer/lsp4ij,
// src/main/java/com/redhat/devtools/lsp4ij/client/LanguageClientImpl.java at 0ebc3a9382d9
// (compared by hand)
package com.redhat.devtools.lsp4ij.client;
import com.intellij.openapi.Disposable;
import com.intellij.openapi.project.Project;
import com.redhat.devtools.lsp4ij.ServerStatus;
import org.eclipse.lsp4j.services.LanguageClient;
public class LanguageClientImpl implements LanguageClient, Disposable {
    public LanguageClientImpl(Project project) {}
    public Project getProject() { throw new UnsupportedOperationException(); }
    protected Object findSettings(String section) { throw new UnsupportedOperationException(); }
    protected Object createSettings() { throw new UnsupportedOperationException(); }
    protected void triggerChangeConfiguration() {}
    public void handleServerStatusChanged(ServerStatus serverStatus) {}
    @Override public void dispose() {}
}
