// Stub for compiling only. Source: JetBrains/intellij-community, platform/ide-core/api-dump.txt
// (not compared)
package com.intellij.openapi.ui.popup;
public interface JBPopup {
    void showUnderneathOf(java.awt.Component component);
}
