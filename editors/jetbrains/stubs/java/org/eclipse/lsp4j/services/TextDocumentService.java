// Stub for compiling only. Source: eclipse-lsp4j/lsp4j 1.0.0,
// org.eclipse.lsp4j/src/main/java/org/eclipse/lsp4j/services/TextDocumentService.java (compared by
// hand)
package org.eclipse.lsp4j.services;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import org.eclipse.lsp4j.*;
import org.eclipse.lsp4j.jsonrpc.messages.Either;
public interface TextDocumentService {
    CompletableFuture<Either<List<InlineCompletionItem>, InlineCompletionList>> inlineCompletion(InlineCompletionParams params);
}
