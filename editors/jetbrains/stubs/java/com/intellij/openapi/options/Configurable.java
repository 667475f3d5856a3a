// Stub for compiling only. Source: JetBrains/intellij-community, platform/ide-core/api-dump.txt
// (not compared)
package com.intellij.openapi.options;
public interface Configurable {
    String getDisplayName();
    javax.swing.JComponent createComponent();
    boolean isModified();
    void apply() throws ConfigurationException;
    default void reset() {}
    default void disposeUIResources() {}
}
