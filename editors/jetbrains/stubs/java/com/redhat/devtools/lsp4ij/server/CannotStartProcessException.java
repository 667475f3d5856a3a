// Stub for compiling only. Source: redhat-developer/lsp4ij,
// src/main/java/com/redhat/devtools/lsp4ij/server/CannotStartProcessException.java at a5ad476fdcda
// (not compared)
package com.redhat.devtools.lsp4ij.server;
public class CannotStartProcessException extends Exception {
    public CannotStartProcessException(String message) { super(message); }
}
