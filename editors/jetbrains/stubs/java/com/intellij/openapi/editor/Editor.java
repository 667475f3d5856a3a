// Stub for compiling only. Source: JetBrains/intellij-community,
// platform/editor-ui-api/api-dump.txt (not compared)
package com.intellij.openapi.editor;
public interface Editor {
    Document getDocument();
    CaretModel getCaretModel();
    SelectionModel getSelectionModel();
    boolean isViewer();
    com.intellij.openapi.project.Project getProject();
}
