// Stub for compiling only. Source: JetBrains/intellij-community,
// platform/ide-core/src/com/intellij/openapi/wm/StatusBarWidgetFactory.java (compared by hand)
package com.intellij.openapi.wm;
public interface StatusBarWidgetFactory {
    String getId();
    String getDisplayName();
    default boolean isAvailable(com.intellij.openapi.project.Project project) { return true; }
    default StatusBarWidget createWidget(com.intellij.openapi.project.Project project) { throw new UnsupportedOperationException(); }
}
