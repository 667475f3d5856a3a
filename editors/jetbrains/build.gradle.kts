// For machines that reach JetBrains' repositories and Maven Central; see README.md.
// `./gradlew buildPlugin` puts the zip into build/distributions, `./gradlew runIde` tries it out,
// `./gradlew verifyPlugin` checks it against released IDEs.
import org.jetbrains.intellij.platform.gradle.TestFrameworkType

plugins {
    kotlin("jvm") version "2.1.21"
    id("org.jetbrains.intellij.platform") version "2.6.0"
}

version = providers.gradleProperty("pluginVersion").get()

repositories {
    mavenCentral()
    intellijPlatform { defaultRepositories() }
}

dependencies {
    intellijPlatform {
        intellijIdeaCommunity(providers.gradleProperty("platformVersion").get())
        plugin("com.redhat.devtools.lsp4ij:${providers.gradleProperty("lsp4ijVersion").get()}")
        pluginVerifier()
        testFramework(TestFrameworkType.Platform)
    }
    testImplementation("org.junit.jupiter:junit-jupiter:5.11.4")
    testRuntimeOnly("org.junit.platform:junit-platform-launcher")
}

kotlin { jvmToolchain(21) }

intellijPlatform {
    pluginConfiguration {
        ideaVersion {
            sinceBuild = "242"
            untilBuild = provider { null }
        }
    }
    pluginVerification { ides { recommended() } }
}

tasks.test {
    useJUnitPlatform()
    // As tests/editors/test_jetbrains.py gives them; without them those tests are skipped.
    for (name in listOf("nemodiff.server", "nemodiff.texts", "nemodiff.schema")) {
        System.getProperty(name)?.let { systemProperty(name, it) }
    }
}
