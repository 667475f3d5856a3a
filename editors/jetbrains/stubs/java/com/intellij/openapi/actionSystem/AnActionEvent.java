// Stub for compiling only. Source: JetBrains/intellij-community,
// platform/editor-ui-api/api-dump.txt (not compared)
package com.intellij.openapi.actionSystem;
public class AnActionEvent {
    public com.intellij.openapi.project.Project getProject() { throw new UnsupportedOperationException(); }
    public <T> T getData(DataKey<T> key) { throw new UnsupportedOperationException(); }
    public Presentation getPresentation() { throw new UnsupportedOperationException(); }
}
