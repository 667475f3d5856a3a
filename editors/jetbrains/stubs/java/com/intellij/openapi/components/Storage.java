// Stub for compiling only. Source: JetBrains/intellij-community,
// platform/projectModel-api/api-dump.txt (not compared)
package com.intellij.openapi.components;
import java.lang.annotation.Retention;
import java.lang.annotation.RetentionPolicy;
@Retention(RetentionPolicy.RUNTIME)
public @interface Storage {
    String value() default "";
}
