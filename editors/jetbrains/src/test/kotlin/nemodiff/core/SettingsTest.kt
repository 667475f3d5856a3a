package nemodiff.core

import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertNull
import org.junit.jupiter.api.Assertions.assertThrows
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Assumptions.assumeTrue
import org.junit.jupiter.api.Test
import java.nio.file.Files
import java.nio.file.Path

class SettingsTest {
    @Test
    fun `texts are read by the kind of the setting`() {
        val texts = mapOf(
            "enabled" to "false",
            "maxTokens" to " 32 ",
            "temperature" to "0.5",
            "mode" to "ar",
            "disabledLanguages" to "python, lua,",
            "engineSocket" to "/run/engine.sock",
        )
        val expected = mapOf(
            "enabled" to false,
            "maxTokens" to 32L,
            "temperature" to 0.5,
            "mode" to "ar",
            "disabledLanguages" to listOf("python", "lua"),
            "engineSocket" to "/run/engine.sock",
        )
        val reading = ServerSettings.read(texts)
        assertEquals(expected, reading.settings.chosen)
        assertEquals(emptyList<String>(), reading.problems)
    }

    @Test
    fun `an empty text leaves the choice to the server`() {
        val reading = ServerSettings.read(mapOf("mode" to " "))
        assertEquals(emptyMap<String, Any>(), reading.settings.chosen)
    }

    @Test
    fun `a default that is written out is sent, to win over the project's own`() {
        val reading = ServerSettings.read(mapOf("mode" to "auto"))
        assertEquals(mapOf("mode" to "auto"), reading.settings.chosen)
    }

    @Test
    fun `each unusable value gets a sentence and the others stay`() {
        val texts = mapOf(
            "maxTokens" to "many",
            "numAlternatives" to "9",
            "confidenceThreshold" to "NaN",
            "mode" to "psychic",
            "contextSources" to "imports, dreams",
            "enabled" to "yes",
            "colour" to "blue",
            "reuse" to "true",
        )
        val reading = ServerSettings.read(texts)
        assertEquals(mapOf("reuse" to true), reading.settings.chosen)
        assertEquals(7, reading.problems.size)
        val first = "The setting 'maxTokens' must be a whole number; it is ignored."
        assertEquals(first, reading.problems[0])
        assertTrue(reading.problems.any { "'colour' is not known" in it })
    }

    @Test
    fun `bounds themselves are inside`() {
        for (spec in SETTINGS) {
            when (val kind = spec.kind) {
                is Whole -> {
                    assertEquals(kind.low, kind.parse(kind.low.toString()))
                    assertEquals(kind.high, kind.parse(kind.high.toString()))
                }
                is Real -> {
                    assertEquals(kind.low, kind.parse(kind.low.toString()))
                    assertThrows(ValueProblem::class.java) { kind.parse("${kind.high + 1}") }
                }
                else -> Unit
            }
        }
    }

    @Test
    fun `every default is a value of its kind, as the page shows it`() {
        for (spec in SETTINGS.filter { it.default != null }) {
            assertEquals(spec.default, spec.kind.parse(spec.shown(spec.default)), spec.key)
        }
    }

    @Test
    fun `initialize carries the settings, the wish for status and the trust`() {
        val settings = ServerSettings.read(mapOf("mode" to "ar")).settings
        val expected = mapOf(
            "nemodiff" to mapOf("mode" to "ar", "status" to true),
            "isTrusted" to false,
        )
        assertEquals(expected, settings.initializationOptions(isTrusted = false))
        assertEquals(mapOf("nemodiff" to mapOf("mode" to "ar")), settings.configuration())
    }

    @Test
    fun `only the user may choose engine and model`() {
        val own = SETTINGS.filter { it.isUserOnly }.map { it.key }
        val expected = listOf("model", "engineSocket", "engineUrl", "engineTokenFile", "trusted")
        assertEquals(expected, own)
    }

    /** The schema is what the server itself prints. */
    @Test
    fun `keys, kinds, bounds and defaults are the server's own`() {
        val file = System.getProperty("nemodiff.schema")
        assumeTrue(file != null, "no schema of the server is given")
        val schema = Json.parse(Files.readString(Path.of(file))) as Map<*, *>
        val properties = schema["properties"] as Map<*, *>
        assertEquals(properties.keys.toList(), SETTINGS.map { it.key })
        for (spec in SETTINGS) {
            val facts = properties[spec.key] as Map<*, *>
            assertEquals(facts["default"], spec.default, spec.key)
            assertEquals(facts["description"], spec.meaning, spec.key)
            assertEquals(facts["x-scope"] == "machine", spec.isUserOnly, spec.key)
            assertEquals(kindOf(facts), spec.kind, spec.key)
        }
    }

    private fun kindOf(facts: Map<*, *>): Kind {
        val types = (facts["type"] as? List<*>) ?: listOf(facts["type"])
        assertEquals("null" in types, facts["default"] == null)
        return when (types.first()) {
            "boolean" -> Flag
            "integer" -> Whole(facts["minimum"] as Long, facts["maximum"] as Long)
            "number" -> Real(
                (facts["minimum"] as Number).toDouble(),
                (facts["maximum"] as Number).toDouble(),
            )
            "array" -> Texts(words((facts["items"] as Map<*, *>)["enum"]))
            else -> words(facts["enum"])?.let(::Word) ?: Text
        }
    }

    private fun words(value: Any?): List<String>? = (value as? List<*>)?.map { it as String }

    @Test
    fun `an unknown value is shown as nothing`() {
        assertEquals("", SETTINGS.first { it.key == "seed" }.shown(null))
        assertNull(SETTINGS.first { it.key == "seed" }.default)
    }
}
