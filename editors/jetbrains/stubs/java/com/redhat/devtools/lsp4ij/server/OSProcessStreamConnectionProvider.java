// Stub for compiling only. Source: redhat-developer/lsp4ij,
// src/main/java/com/redhat/devtools/lsp4ij/server/OSProcessStreamConnectionProvider.java at
// a5ad476fdcda (compared by hand)
package com.redhat.devtools.lsp4ij.server;
import com.intellij.execution.configurations.GeneralCommandLine;
public class OSProcessStreamConnectionProvider implements StreamConnectionProvider {
    public OSProcessStreamConnectionProvider() {}
    public void setCommandLine(GeneralCommandLine commandLine) {}
    @Override public void start() throws CannotStartProcessException {}
    @Override public void stop() {}
}
