// Stub for compiling only. Source: JetBrains/intellij-community,
// platform/platform-api/api-dump.txt (not compared)
package com.intellij.openapi.wm;
public abstract class WindowManager {
    public static WindowManager getInstance() { throw new UnsupportedOperationException(); }
    public abstract StatusBar getStatusBar(com.intellij.openapi.project.Project project);
}
