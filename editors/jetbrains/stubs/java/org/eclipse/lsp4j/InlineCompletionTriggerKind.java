// Stub for compiling only. Source: eclipse-lsp4j/lsp4j 1.0.0,
// org.eclipse.lsp4j/src/main/java/org/eclipse/lsp4j/InlineCompletionTriggerKind.java at
// c82d416ed9ac (not compared)
package org.eclipse.lsp4j;
public enum InlineCompletionTriggerKind { Invoked, Automatic }
