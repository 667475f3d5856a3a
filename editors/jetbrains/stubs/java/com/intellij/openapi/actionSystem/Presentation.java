// Stub for compiling only. Source: JetBrains/intellij-community,
// platform/editor-ui-api/api-dump.txt (not compared)
package com.intellij.openapi.actionSystem;
public final class Presentation {
    public void setEnabledAndVisible(boolean enabled) {}
}
