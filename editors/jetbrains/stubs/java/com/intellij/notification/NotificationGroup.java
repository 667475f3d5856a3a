// Stub for compiling only. Source: JetBrains/intellij-community, platform/ide-core/api-dump.txt
// (not compared)
package com.intellij.notification;
public final class NotificationGroup {
    public Notification createNotification(String content, NotificationType type) { throw new UnsupportedOperationException(); }
}
