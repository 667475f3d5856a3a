// Stub for compiling only. Source: JetBrains/intellij-community, platform/ide-core/api-dump.txt
// (not compared)
package com.intellij.notification;
public class Notification {
    public void notify(com.intellij.openapi.project.Project project) {}
}
