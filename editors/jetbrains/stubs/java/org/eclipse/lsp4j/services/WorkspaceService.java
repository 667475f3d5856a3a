// Stub for compiling only. Source: eclipse-lsp4j/lsp4j 1.0.0,
// org.eclipse.lsp4j/src/main/java/org/eclipse/lsp4j/services/WorkspaceService.java (not compared)
package org.eclipse.lsp4j.services;
import java.util.concurrent.CompletableFuture;
import org.eclipse.lsp4j.ExecuteCommandParams;
public interface WorkspaceService {
    CompletableFuture<Object> executeCommand(ExecuteCommandParams params);
}
