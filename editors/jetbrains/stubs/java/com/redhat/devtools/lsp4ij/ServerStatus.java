// Stub for compiling only. Source: redhat-developer/lsp4ij,
// src/main/java/com/redhat/devtools/lsp4ij/ServerStatus.java at 69ea23369174 (not compared)
package com.redhat.devtools.lsp4ij;
public enum ServerStatus { none, checking_installed, installing, installed, starting, started, stopping, stopped, not_installed }
