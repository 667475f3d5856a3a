package nemodiff.core

import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertNull
import org.junit.jupiter.api.Test

class ServerStatusTest {
    private fun of(vararg params: Pair<String, Any?>) = ServerStatus.of(mapOf(*params))

    @Test
    fun `loading shows how far it is`() {
        val status = of("kind" to "loading", "message" to "The model is loading.", "perCent" to 40L)
        assertEquals("NemoDiff: 40 %", status?.label())
        assertEquals("The model is loading.", status?.tooltip())
    }

    @Test
    fun `loading without a figure says so`() {
        val status = of("kind" to "loading", "message" to "Starting.", "perCent" to null)
        assertEquals("NemoDiff: loading", status?.label())
    }

    @Test
    fun `a figure out of range is brought into it`() {
        val status = of("kind" to "loading", "message" to "Loading.", "perCent" to 140.0)
        assertEquals(100, status?.perCent)
    }

    @Test
    fun `why nothing was shown is in the tooltip`() {
        val status = of("kind" to "ready", "message" to "Ready.", "nothingBecause" to "Too slow.")
        assertEquals("NemoDiff: nothing", status?.label())
        assertEquals("Ready. Nothing was shown: Too slow.", status?.tooltip())
    }

    @Test
    fun `every state of the server has a label of its own`() {
        val kinds = listOf("loading", "ready", "busy", "paused", "excluded", "error")
        val labels = kinds.map { of("kind" to it, "message" to "A sentence.")?.label() }
        assertEquals(kinds.size, labels.filterNotNull().toSet().size)
    }

    @Test
    fun `what is not known is ignored`() {
        assertNull(of("kind" to "dreaming", "message" to "Zzz."))
        assertNull(of("kind" to "ready"))
        assertNull(of("message" to "Ready."))
        assertNull(ServerStatus.of(listOf("ready")))
        assertNull(ServerStatus.of(null))
    }

    @Test
    fun `an empty reason is none`() {
        val status = of("kind" to "ready", "message" to "Ready.", "nothingBecause" to "")
        assertEquals(ServerStatus(ServerStatus.Kind.READY, "Ready."), status)
    }
}
