// Stub for compiling only. Source: eclipse-lsp4j/lsp4j 1.0.0,
// org.eclipse.lsp4j/src/main/java/org/eclipse/lsp4j/Protocol.xtend (not compared)
package org.eclipse.lsp4j;
import java.util.List;
import org.eclipse.lsp4j.jsonrpc.messages.Either;
public class ClientInfo {
    public ClientInfo(String name, String version) {}
    public String getName() { throw new UnsupportedOperationException(); }
    public void setName(String name) {}
}
