// Stub for compiling only. Source: JetBrains/intellij-community,
// platform/ide-core/src/com/intellij/openapi/wm/StatusBarWidget.java (compared by hand)
package com.intellij.openapi.wm;
public interface StatusBarWidget extends com.intellij.openapi.Disposable {
    String ID();
    default WidgetPresentation getPresentation() { return null; }
    default void install(StatusBar statusBar) {}
    @Override default void dispose() {}
    interface WidgetPresentation {
        String getTooltipText();
        default com.intellij.util.Consumer<java.awt.event.MouseEvent> getClickConsumer() { return null; }
    }
    interface TextPresentation extends WidgetPresentation {
        String getText();
        float getAlignment();
    }
}
