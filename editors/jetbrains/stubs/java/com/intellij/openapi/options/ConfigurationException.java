// Stub for compiling only. Source: JetBrains/intellij-community, platform/ide-core/api-dump.txt
// (not compared)
package com.intellij.openapi.options;
public class ConfigurationException extends Exception {
    public ConfigurationException(String message) { super(message); }
}
