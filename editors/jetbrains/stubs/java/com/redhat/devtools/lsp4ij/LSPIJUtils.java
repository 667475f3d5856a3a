// Stub for compiling only. Source: redhat-developer/lsp4ij,
// src/main/java/com/redhat/devtools/lsp4ij/LSPIJUtils.java at 69ea23369174 (not compared)
package com.redhat.devtools.lsp4ij;
public class LSPIJUtils {
    public static java.net.URI toUri(com.intellij.openapi.vfs.VirtualFile file) { throw new UnsupportedOperationException(); }
}
