// Stub for compiling only. Source: JetBrains/intellij-community, platform/core-api/api-dump.txt
// (not compared)
package com.intellij.openapi.vfs;
public abstract class VirtualFile {
    public abstract String getName();
}
