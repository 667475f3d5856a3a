// Stub for compiling only. Source: JetBrains/intellij-community, platform/core-api/api-dump.txt
// (not compared)
package com.intellij.openapi.project;
public interface Project extends com.intellij.openapi.Disposable {
    String getBasePath();
    boolean isDisposed();
    <T> T getService(Class<T> serviceClass);
}
