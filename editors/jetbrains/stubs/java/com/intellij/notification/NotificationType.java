// Stub for compiling only. Source: JetBrains/intellij-community, platform/ide-core/api-dump.txt
// (not compared)
package com.intellij.notification;
public enum NotificationType { IDE_UPDATE, INFORMATION, WARNING, ERROR }
