// Stub for compiling only. Source: JetBrains/intellij-community, platform/util/api-dump.txt (not
// compared)
package com.intellij.openapi.util;
public class Key<T> {
    public static <T> Key<T> create(String name) { throw new UnsupportedOperationException(); }
}
