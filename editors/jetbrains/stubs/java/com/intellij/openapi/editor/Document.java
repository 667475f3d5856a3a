// Stub for compiling only. Source: JetBrains/intellij-community, platform/core-api/api-dump.txt
// (not compared)
package com.intellij.openapi.editor;
public interface Document {
    CharSequence getCharsSequence();
    long getModificationStamp();
    boolean isWritable();
}
