// Stub for compiling only. Source: JetBrains/intellij-community,
// platform/core-api/src/com/intellij/openapi/application/coroutines.kt (not compared)
package com.intellij.openapi.application

suspend fun <T> readAction(action: () -> T): T = throw UnsupportedOperationException()
