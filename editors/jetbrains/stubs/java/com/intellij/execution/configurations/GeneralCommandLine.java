// Stub for compiling only. Source: JetBrains/intellij-community,
// platform/platform-util-io/src/com/intellij/execution/configurations/GeneralCommandLine.java
// (compared by hand)
package com.intellij.execution.configurations;
public class GeneralCommandLine {
    public GeneralCommandLine(java.util.List<String> command) {}
    public void setWorkDirectory(String path) {}
}
