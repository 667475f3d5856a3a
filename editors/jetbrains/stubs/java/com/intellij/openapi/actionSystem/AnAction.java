// Stub for compiling only. Source: JetBrains/intellij-community,
// platform/editor-ui-api/api-dump.txt (not compared)
package com.intellij.openapi.actionSystem;
public abstract class AnAction {
    public AnAction() {}
    public abstract void actionPerformed(AnActionEvent e);
    public void update(AnActionEvent e) {}
    public ActionUpdateThread getActionUpdateThread() { throw new UnsupportedOperationException(); }
}
