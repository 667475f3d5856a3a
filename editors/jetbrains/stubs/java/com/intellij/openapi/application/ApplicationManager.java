// Stub for compiling only. Source: JetBrains/intellij-community, platform/core-api/api-dump.txt
// (not compared)
package com.intellij.openapi.application;
public class ApplicationManager {
    public static Application getApplication() { throw new UnsupportedOperationException(); }
}
