// Stub for compiling only. Source: JetBrains/intellij-community,
// platform/analysis-api/api-dump.txt (not compared)
package com.intellij.codeInsight.lookup;
public abstract class LookupElement {
    public abstract String getLookupString();
}
