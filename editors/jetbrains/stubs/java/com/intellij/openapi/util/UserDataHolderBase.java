// Stub for compiling only. Source: JetBrains/intellij-community, platform/util/api-dump.txt (not
// compared)
package com.intellij.openapi.util;
public class UserDataHolderBase {
    public <T> T getUserData(Key<T> key) { throw new UnsupportedOperationException(); }
    public <T> void putUserData(Key<T> key, T value) { throw new UnsupportedOperationException(); }
}
