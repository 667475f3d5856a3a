// Stub for compiling only. Source: JetBrains/intellij-community, platform/ide-core/api-dump.txt
// (not compared)
package com.intellij.openapi.ui.popup;
public interface IPopupChooserBuilder<T> {
    IPopupChooserBuilder<T> setTitle(String title);
    IPopupChooserBuilder<T> setItemChosenCallback(com.intellij.util.Consumer<? super T> callback);
    JBPopup createPopup();
}
