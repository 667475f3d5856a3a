// Stub for compiling only. Source: JetBrains/intellij-community,
// platform/analysis-api/api-dump.txt (not compared)
package com.intellij.openapi.fileEditor;
public abstract class FileEditorManager {
    public static FileEditorManager getInstance(com.intellij.openapi.project.Project project) { throw new UnsupportedOperationException(); }
    public abstract com.intellij.openapi.vfs.VirtualFile[] getSelectedFiles();
}
