// Stub for compiling only. Source: eclipse-lsp4j/lsp4j 1.0.0,
// org.eclipse.lsp4j.jsonrpc/src/main/java/org/eclipse/lsp4j/jsonrpc/services/JsonNotification.java
// (not compared)
package org.eclipse.lsp4j.jsonrpc.services;
import java.lang.annotation.Retention;
import java.lang.annotation.RetentionPolicy;
@Retention(RetentionPolicy.RUNTIME)
public @interface JsonNotification {
    String value() default "";
}
