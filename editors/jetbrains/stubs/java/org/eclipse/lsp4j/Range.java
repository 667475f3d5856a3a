// Stub for compiling only. Source: eclipse-lsp4j/lsp4j 1.0.0,
// org.eclipse.lsp4j/src/main/java/org/eclipse/lsp4j/Protocol.xtend (not compared)
package org.eclipse.lsp4j;
import java.util.List;
import org.eclipse.lsp4j.jsonrpc.messages.Either;
public class Range {
    public Range(Position start, Position end) {}
    public Position getStart() { throw new UnsupportedOperationException(); }
    public void setStart(Position start) {}
    public Position getEnd() { throw new UnsupportedOperationException(); }
    public void setEnd(Position end) {}
}
