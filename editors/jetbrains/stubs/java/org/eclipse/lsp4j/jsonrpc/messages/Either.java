// Stub for compiling only. Source: eclipse-lsp4j/lsp4j 1.0.0,
// org.eclipse.lsp4j.jsonrpc/src/main/java/org/eclipse/lsp4j/jsonrpc/messages/Either.java (not
// compared)
package org.eclipse.lsp4j.jsonrpc.messages;
public class Either<L, R> {
    public L getLeft() { throw new UnsupportedOperationException(); }
    public R getRight() { throw new UnsupportedOperationException(); }
    public boolean isLeft() { throw new UnsupportedOperationException(); }
}
