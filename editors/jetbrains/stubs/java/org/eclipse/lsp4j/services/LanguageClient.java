// Stub for compiling only. Source: eclipse-lsp4j/lsp4j 1.0.0,
// org.eclipse.lsp4j/src/main/java/org/eclipse/lsp4j/services/LanguageClient.java (not compared)
package org.eclipse.lsp4j.services;
public interface LanguageClient {}
