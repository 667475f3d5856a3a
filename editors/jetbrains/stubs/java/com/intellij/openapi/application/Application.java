// Stub for compiling only. Source: JetBrains/intellij-community, platform/core-api/api-dump.txt
// (not compared)
package com.intellij.openapi.application;
public interface Application {
    <T> T getService(Class<T> serviceClass);
    void invokeLater(Runnable runnable);
}
