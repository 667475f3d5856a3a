// Stub for compiling only. Source: JetBrains/intellij-community, platform/ide-core/api-dump.txt
// (not compared)
package com.intellij.openapi.wm;
public interface StatusBar {
    void updateWidget(String id);
}
