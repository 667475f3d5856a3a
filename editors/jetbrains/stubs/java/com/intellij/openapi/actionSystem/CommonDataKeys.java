// Stub for compiling only. Source: JetBrains/intellij-community,
// platform/editor-ui-api/api-dump.txt (not compared)
package com.intellij.openapi.actionSystem;
public class CommonDataKeys {
    public static final DataKey<com.intellij.openapi.editor.Editor> EDITOR = null;
    public static final DataKey<com.intellij.openapi.vfs.VirtualFile> VIRTUAL_FILE = null;
}
