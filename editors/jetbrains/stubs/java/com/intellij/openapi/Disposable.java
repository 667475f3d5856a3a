// Stub for compiling only. Source: JetBrains/intellij-community, platform/util/api-dump.txt (not
// compared)
package com.intellij.openapi;
public interface Disposable { void dispose(); }
