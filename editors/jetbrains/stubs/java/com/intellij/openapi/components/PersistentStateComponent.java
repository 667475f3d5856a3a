// Stub for compiling only. Source: JetBrains/intellij-community,
// platform/projectModel-api/api-dump.txt (not compared)
package com.intellij.openapi.components;
public interface PersistentStateComponent<T> {
    T getState();
    void loadState(T state);
}
