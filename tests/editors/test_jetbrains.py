"""The JetBrains plugin: compiled against stubs, its core under JUnit against the real server.

No IDE is run here: what depends on one is only compiled. The files that an IDE reads (plugin.xml,
the zip's layout, the template for LSP4IJ) are checked against each other and against the classes.
"""

from __future__ import annotations

import json
import re
import sys
import tempfile
import xml.etree.ElementTree as ET
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from kotlin import Kotlin, find_kotlin, plugin_zip

from nemodiff_lsp.settings.table import schema

ROOT = Path(__file__).resolve().parents[2]
PLUGIN = ROOT / "editors" / "jetbrains"
RESOURCES = PLUGIN / "src" / "main" / "resources"
TEMPLATE = PLUGIN / "lsp4ij-template" / "nemodiff"
PLUGIN_XML = RESOURCES / "META-INF" / "plugin.xml"
CORE = PLUGIN / "src" / "main" / "kotlin" / "nemodiff" / "core"

KOTLIN = find_kotlin()
needs_kotlin = pytest.mark.skipif(
    KOTLIN is None, reason="Kotlin, JUnit or Java 17 is not here: run `make rigs`"
)

# Automatic requests get the first, those by key all of them.
TEXTS = ["a + b", "b + a", "a + b + 0"]


@pytest.fixture(scope="module")
def kotlin() -> Kotlin:
    assert KOTLIN is not None
    return KOTLIN


@pytest.fixture(scope="module")
def compiled(kotlin: Kotlin, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The plugin's classes, and the stubs' that they were compiled against."""
    jar = tmp_path_factory.mktemp("plugin") / "all.jar"
    # Each is a root of packages, which matters for Java.
    roots = ("src/main/kotlin", "stubs/kotlin", "stubs/java")
    kotlin.compile([PLUGIN / root for root in roots], jar)
    return jar


@pytest.fixture
def server_command(tmp_path: Path) -> Iterator[list[str]]:
    """`nemodiff lsp` that has joined an engine with the answers TEXTS."""
    sys.path.insert(0, str(ROOT / "tests" / "lsp"))
    from fake_engine import Answer, FakeEngine

    config = tmp_path / "config" / "nemodiff" / "settings.toml"
    config.parent.mkdir(parents=True)
    patient = "deadlineMs = 60000\ninvokedDeadlineMs = 60000\nprefetch = false\n"
    config.write_text(patient, encoding="utf-8")
    environment = {"XDG_CONFIG_HOME": config.parents[1], "NEMODIFF_STATE_DIR": tmp_path / "state"}
    # Not tmp_path, whose names grow beyond what a socket address holds.
    with tempfile.TemporaryDirectory(prefix="nemodiff-") as folder:
        socket = Path(folder) / "engine.sock"
        with FakeEngine(socket, default=Answer(texts=tuple(TEXTS))):
            assignments = [f"{name}={value}" for name, value in environment.items()]
            server = [sys.executable, "-m", "nemodiff_lsp", "--no-engine-start"]
            yield ["/usr/bin/env", *assignments, *server, "--engine-socket", str(socket)]


@pytest.mark.slow
@needs_kotlin
@pytest.mark.timeout(1200)
def test_junit_with_the_real_server(
    kotlin: Kotlin, compiled: Path, server_command: list[str], tmp_path: Path
) -> None:
    tests = tmp_path / "tests.jar"
    kotlin.compile([PLUGIN / "src" / "test" / "kotlin"], tests, [compiled, *kotlin.junit])
    facts = tmp_path / "schema.json"
    facts.write_text(json.dumps(schema()), encoding="utf-8")
    result = kotlin.run_tests(
        tests,
        [compiled],
        {
            "nemodiff.server": json.dumps(server_command),
            "nemodiff.texts": json.dumps(TEXTS),
            "nemodiff.schema": str(facts),
        },
    )
    print(f"JUnit: {result.num_successful} passed, {result.num_failed} failed")
    assert (result.num_failed, result.num_skipped) == (0, 0), result.output
    assert result.num_successful >= 30


@pytest.mark.slow
@needs_kotlin
def test_zip_holds_what_plugin_xml_names(compiled: Path, tmp_path: Path) -> None:
    target = tmp_path / "nemodiff.zip"
    plugin_zip(compiled, RESOURCES, ["nemodiff/core/", "nemodiff/ide/"], target, "nemodiff")
    with zipfile.ZipFile(target) as made:
        assert made.namelist() == ["nemodiff/lib/nemodiff.jar"]
        jar = tmp_path / "nemodiff.jar"
        jar.write_bytes(made.read("nemodiff/lib/nemodiff.jar"))
    with zipfile.ZipFile(jar) as made:
        names = set(made.namelist())
    assert "META-INF/plugin.xml" in names
    assert "META-INF/pluginIcon.svg" in names
    assert {f"{each.replace('.', '/')}.class" for each in named_classes()} <= names
    classes = {name for name in names if name.endswith(".class")}
    # Stubs in the zip would hide the IDE's own classes.
    assert {name.split("/")[0] for name in classes} == {"nemodiff"}
    assert target.stat().st_size < 2 * 2**20


@pytest.mark.slow
@needs_kotlin
def test_the_core_knows_no_ide(compiled: Path) -> None:
    """Compiled classes name what they use as text, so the bytes tell."""
    with zipfile.ZipFile(compiled) as jar:
        core = [name for name in jar.namelist() if name.startswith("nemodiff/core/")]
        assert core
        for name in core:
            data = jar.read(name)
            for foreign in (b"com/intellij", b"org/eclipse/lsp4j", b"com/redhat", b"nemodiff/ide"):
                assert foreign not in data, name


def elements(name: str) -> list[ET.Element]:
    return list(ET.parse(PLUGIN_XML).getroot().iter(name))


def named_classes() -> set[str]:
    attributes = ("implementation", "serviceImplementation", "instance", "factoryClass", "class")
    values = (each.get(name) for each in ET.parse(PLUGIN_XML).iter() for name in attributes)
    return {value for value in values if value is not None}


def test_plugin_xml_says_what_an_ide_wants() -> None:
    root = ET.parse(PLUGIN_XML).getroot()
    assert root.tag == "idea-plugin"
    for name in ("id", "name", "version", "vendor", "description"):
        assert (root.findtext(name) or "").strip(), name
    # The marketplace turns shorter ones away.
    assert len((root.findtext("description") or "").strip()) >= 40
    (build,) = elements("idea-version")
    assert re.fullmatch(r"\d{3}", build.get("since-build") or "")
    assert [each.text for each in elements("depends")] == [
        "com.intellij.modules.platform",
        "com.redhat.devtools.lsp4ij",
    ]


def test_every_class_of_plugin_xml_is_in_the_sources() -> None:
    sources = "\n".join(path.read_text("utf-8") for path in PLUGIN.glob("src/main/**/*.kt"))
    classes = named_classes()
    assert len(classes) >= 10
    missing = [
        each
        for each in classes
        if not re.search(
            rf"^(?:abstract )?class {each.rpartition('.')[2]}\b", sources, re.MULTILINE
        )
    ]
    assert not missing


def test_ids_of_plugin_xml_and_code_agree() -> None:
    project = (PLUGIN / "src/main/kotlin/nemodiff/ide/NemodiffProject.kt").read_text("utf-8")
    (server,) = elements("server")
    (widget,) = elements("statusBarWidgetFactory")
    (group,) = elements("notificationGroup")
    (provider,) = elements("inline.completion.provider")
    assert f'SERVER_ID = "{server.get("id")}"' in project
    assert f'STATUS_WIDGET_ID = "{widget.get("id")}"' in project
    assert f'getNotificationGroup("{group.get("id")}")' in project
    # The platform finds a provider by this id; the code takes it from the class.
    assert provider.get("id") == provider.get("implementation")
    ids = [each.get("id") for each in elements("action")]
    assert len(ids) == len(set(ids))


def patterns_of_kotlin() -> dict[str, list[str]]:
    text = (CORE / "Languages.kt").read_text(encoding="utf-8")
    rows = re.findall(r'"(\w+)" to listOf\(([^)]*)\)', text)
    return {language: re.findall(r'"([^"]+)"', patterns) for language, patterns in rows}


def test_languages_are_the_same_in_kotlin_plugin_xml_and_template() -> None:
    kotlin = patterns_of_kotlin()
    assert len(kotlin) >= 20
    mappings = elements("fileNamePatternMapping")
    assert all(each.get("serverId") == "nemodiff" for each in mappings)
    mapped = {each.get("languageId"): (each.get("patterns") or "").split(";") for each in mappings}
    assert mapped == kotlin
    template = json.loads((TEMPLATE / "template.json").read_text(encoding="utf-8"))
    rows = template["fileTypeMappings"]
    assert {each["languageId"]: each["fileType"]["patterns"] for each in rows} == kotlin


def test_template_starts_the_server_that_the_plugin_starts() -> None:
    template = json.loads((TEMPLATE / "template.json").read_text(encoding="utf-8"))
    assert template["id"] == "nemodiff"
    assert template["programArgs"]["default"] == "nemodiff lsp"
    for name in ("settings.json", "initializationOptions.json", "clientSettings.json"):
        assert isinstance(json.loads((TEMPLATE / name).read_text(encoding="utf-8")), dict)
    assert json.loads((TEMPLATE / "settings.json").read_text(encoding="utf-8")) == {"nemodiff": {}}


def test_each_stub_names_its_source() -> None:
    stubs = [*PLUGIN.glob("stubs/**/*.java"), *PLUGIN.glob("stubs/**/*.kt")]
    assert len(stubs) > 60
    repositories = ("intellij-community", "redhat-developer/lsp4ij", "eclipse-lsp4j/lsp4j")
    for stub in stubs:
        comment = stub.read_text(encoding="utf-8").partition("package ")[0].replace("\n// ", " ")
        assert comment.startswith("// Stub for compiling only. Source: "), stub
        assert any(each in comment for each in repositories), stub
        assert "compared" in comment, stub


def test_versions_agree() -> None:
    version = ET.parse(PLUGIN_XML).getroot().findtext("version")
    gradle = (PLUGIN / "gradle.properties").read_text(encoding="utf-8")
    assert f"pluginVersion={version}\n" in gradle
    assert f"## {version}\n" in (PLUGIN / "CHANGELOG.md").read_text(encoding="utf-8")
