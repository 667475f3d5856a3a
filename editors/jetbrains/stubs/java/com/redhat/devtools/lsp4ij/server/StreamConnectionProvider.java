// Stub for compiling only. Source: redhat-developer/lsp4ij,
// src/main/java/com/redhat/devtools/lsp4ij/server/StreamConnectionProvider.java at a5ad476fdcda
// (not compared)
package com.redhat.devtools.lsp4ij.server;
public interface StreamConnectionProvider {
    void start() throws CannotStartProcessException;
    void stop();
}
