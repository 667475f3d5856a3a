// Stub for compiling only. Source: JetBrains/intellij-community, platform/ide-core/api-dump.txt
// (not compared)
package com.intellij.openapi.options;
public abstract class ShowSettingsUtil {
    public static ShowSettingsUtil getInstance() { throw new UnsupportedOperationException(); }
    public abstract void showSettingsDialog(com.intellij.openapi.project.Project project, String nameToSelect);
}
