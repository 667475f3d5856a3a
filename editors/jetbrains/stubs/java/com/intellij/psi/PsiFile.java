// Stub for compiling only. Source: JetBrains/intellij-community, platform/core-api/api-dump.txt
// (not compared)
package com.intellij.psi;
public interface PsiFile {
    com.intellij.openapi.vfs.VirtualFile getVirtualFile();
    com.intellij.openapi.project.Project getProject();
}
