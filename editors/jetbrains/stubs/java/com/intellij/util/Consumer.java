// Stub for compiling only. Source: JetBrains/intellij-community, platform/util/api-dump.txt (not
// compared)
package com.intellij.util;
public interface Consumer<T> { void consume(T t); }
