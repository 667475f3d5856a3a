// Stub for compiling only. Source: JetBrains/intellij-community, platform/core-ui/api-dump.txt
// (not compared)
package com.intellij.openapi.actionSystem;
public class DataKey<T> {}
