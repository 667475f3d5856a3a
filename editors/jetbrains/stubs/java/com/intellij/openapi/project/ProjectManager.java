// Stub for compiling only. Source: JetBrains/intellij-community, platform/core-api/api-dump.txt
// (not compared)
package com.intellij.openapi.project;
public abstract class ProjectManager {
    public static ProjectManager getInstance() { throw new UnsupportedOperationException(); }
    public abstract Project[] getOpenProjects();
}
