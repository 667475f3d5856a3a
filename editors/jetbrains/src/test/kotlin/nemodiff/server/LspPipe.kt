package nemodiff.server

import nemodiff.core.Json
import java.io.BufferedInputStream
import java.io.InputStream
import java.util.concurrent.CompletableFuture
import java.util.concurrent.ConcurrentHashMap
import java.util.concurrent.LinkedBlockingQueue
import java.util.concurrent.TimeUnit
import java.util.concurrent.atomic.AtomicInteger
import kotlin.concurrent.thread

/** An answer that is an error. */
class LspError(val code: Int, message: String) : Exception(message)

/** A language server's process and the messages to and from it. answer: to its own requests. */
class LspPipe(command: List<String>, private val answer: (String, Map<*, *>) -> Any?) :
    AutoCloseable {
    data class Told(val method: String, val params: Any?)

    private val process =
        ProcessBuilder(command).redirectError(ProcessBuilder.Redirect.INHERIT).start()
    private val pending = ConcurrentHashMap<Int, CompletableFuture<Any?>>()
    private val ids = AtomicInteger()
    private val answered = LinkedBlockingQueue<String>()
    val told = LinkedBlockingQueue<Told>()

    init {
        thread(isDaemon = true, name = "language server") { read() }
    }

    fun request(method: String, params: Any?): Pair<Int, CompletableFuture<Any?>> {
        val id = ids.incrementAndGet()
        val future = CompletableFuture<Any?>()
        pending[id] = future
        send(mapOf("jsonrpc" to "2.0", "id" to id, "method" to method, "params" to params))
        return id to future
    }

    fun ask(method: String, params: Any?): Any? =
        request(method, params).second.get(WAIT_S, TimeUnit.SECONDS)

    fun tell(method: String, params: Any?) =
        send(mapOf("jsonrpc" to "2.0", "method" to method, "params" to params))

    /** The first notification from now on that `wanted` makes something of. */
    fun <T : Any> await(wanted: (Told) -> T?): T {
        while (true) {
            val next = told.poll(WAIT_S, TimeUnit.SECONDS) ?: error("nothing more was told")
            wanted(next)?.let { return it }
        }
    }

    /** Until the server has got an answer to a request of its own. */
    fun awaitAnswered(method: String) {
        while (true) {
            val next = answered.poll(WAIT_S, TimeUnit.SECONDS) ?: error("$method was not asked")
            if (next == method) return
        }
    }

    override fun close() {
        ask("shutdown", null)
        tell("exit", null)
        check(process.waitFor(WAIT_S, TimeUnit.SECONDS)) { "the server has not ended" }
        check(process.exitValue() == 0) { "the server ended with ${process.exitValue()}" }
    }

    fun kill() {
        process.destroyForcibly()
    }

    @Synchronized
    private fun send(message: Map<String, Any?>) {
        val body = Json.write(message).toByteArray()
        val out = process.outputStream
        out.write("Content-Length: ${body.size}\r\n\r\n".toByteArray())
        out.write(body)
        out.flush()
    }

    private fun read() {
        val input = BufferedInputStream(process.inputStream)
        while (true) {
            val length = headers(input) ?: return
            receive(Json.parse(String(input.readNBytes(length))) as Map<*, *>)
        }
    }

    private fun headers(input: InputStream): Int? {
        var length: Int? = null
        while (true) {
            val line = StringBuilder()
            while (!line.endsWith("\r\n")) {
                val byte = input.read()
                if (byte < 0) return null
                line.append(byte.toChar())
            }
            if (line.length == 2) return length
            val (name, value) = line.trim().split(':', limit = 2)
            if (name.equals("Content-Length", ignoreCase = true)) length = value.trim().toInt()
        }
    }

    private fun receive(message: Map<*, *>) {
        val method = message["method"] as String?
        val id = message["id"]
        if (method == null) {
            val error = message["error"] as Map<*, *>?
            val future = pending.remove((id as Long).toInt()) ?: return
            if (error == null) future.complete(message["result"])
            else future.completeExceptionally(
                LspError((error["code"] as Long).toInt(), error["message"] as String),
            )
        } else if (id != null) {
            val result = answer(method, message["params"] as? Map<*, *> ?: emptyMap<Any, Any>())
            send(mapOf("jsonrpc" to "2.0", "id" to id, "result" to result))
            answered.put(method)
        } else {
            told.put(Told(method, message["params"]))
        }
    }

    private companion object {
        /** A guard against a hang; passing tests wait for events only. */
        const val WAIT_S = 60L
    }
}
