// Stub for compiling only. Source: JetBrains/intellij-community, platform/ide-core/api-dump.txt
// (not compared)
package com.intellij.notification;
public interface NotificationGroupManager {
    static NotificationGroupManager getInstance() { throw new UnsupportedOperationException(); }
    NotificationGroup getNotificationGroup(String groupId);
}
