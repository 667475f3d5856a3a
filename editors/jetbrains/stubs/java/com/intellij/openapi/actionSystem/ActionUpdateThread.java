// Stub for compiling only. Source: JetBrains/intellij-community,
// platform/editor-ui-api/api-dump.txt (not compared)
package com.intellij.openapi.actionSystem;
public enum ActionUpdateThread { EDT, BGT, OLD_EDT }
