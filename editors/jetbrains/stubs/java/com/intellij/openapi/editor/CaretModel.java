// Stub for compiling only. Source: JetBrains/intellij-community,
// platform/editor-ui-api/api-dump.txt (not compared)
package com.intellij.openapi.editor;
public interface CaretModel {
    int getOffset();
    int getCaretCount();
}
