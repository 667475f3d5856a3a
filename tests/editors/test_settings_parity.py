"""Every client's settings are the server's: same keys, types, defaults and bounds in each language.

The server's dataclass is the only home of the facts; the clients' tables are written from it by
scripts of theirs. This reads what those have written, so that a table edited by hand is seen, too.
"""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from nemodiff_lsp.settings.table import schema

EDITORS = Path(__file__).resolve().parents[2] / "editors"
PACKAGE_JSON = EDITORS / "vscode" / "package.json"
LUA = EDITORS / "neovim" / "lua" / "nemodiff" / "settings.lua"
JETBRAINS = EDITORS / "jetbrains"

# Beyond it a JSON number is no whole number to JavaScript.
_MAX_EXACT = 2**53
_NUMBER = r"-?[0-9.]+L?|Long\.MIN_VALUE"

SERVER: dict[str, dict[str, Any]] = schema()["properties"]
KEYS = list(SERVER)


def base_type(facts: dict[str, Any]) -> str:
    kind = facts["type"]
    return str(kind[0] if isinstance(kind, list) else kind)


def is_bound(value: float | None) -> bool:
    return value is not None and abs(value) <= _MAX_EXACT


def needs(path: Path) -> Path:
    if not path.exists():
        pytest.skip(f"{path.relative_to(EDITORS)} is not there")
    return path


def vscode_settings() -> dict[str, dict[str, Any]]:
    package = json.loads(needs(PACKAGE_JSON).read_text(encoding="utf-8"))
    configuration = package.get("contributes", {}).get("configuration")
    if configuration is None:
        pytest.skip("editors/vscode/package.json has no settings yet")
    properties = configuration["properties"]
    # The extension's own, which the server never sees.
    return {
        key.removeprefix("nemodiff."): facts
        for key, facts in properties.items()
        if not key.startswith("nemodiff.server.")
    }


def test_typescript_has_the_same_keys_in_the_same_order() -> None:
    assert list(vscode_settings()) == KEYS


@pytest.mark.parametrize("key", KEYS)
def test_typescript_agrees(key: str) -> None:
    ours, theirs = SERVER[key], vscode_settings()[key]
    for fact in ("type", "default", "enum", "items", "maxItems", "minLength", "maxLength"):
        assert theirs.get(fact) == ours.get(fact), fact
    for bound in ("minimum", "maximum"):
        expected = ours.get(bound) if is_bound(ours.get(bound)) else None
        assert theirs.get(bound) == expected, bound
    # Others than the user must not choose the engine: the editor keeps those from the folder.
    assert (theirs["scope"] == "machine") == (ours["x-scope"] == "machine")


LUA_FIELD = re.compile(
    r"^---@field (\w+)\? (.+?)(\|vim\.NIL)? (?=\S)(.*) \(default: (.*)\)$", re.MULTILINE
)
LUA_TYPES = {"boolean": "boolean", "integer": "integer", "number": "number", "array": "string[]"}


def lua_settings() -> dict[str, tuple[str, bool, str, Any]]:
    """Type, whether it may be null, meaning and default of each field of the Lua class."""
    text = needs(LUA).read_text(encoding="utf-8")
    return {
        key: (kind, bool(nil), meaning, json.loads(default))
        for key, kind, nil, meaning, default in LUA_FIELD.findall(text)
    }


def test_lua_has_the_same_keys_in_the_same_order() -> None:
    assert list(lua_settings()) == KEYS


@pytest.mark.parametrize("key", KEYS)
def test_lua_agrees(key: str) -> None:
    """Lua's types have no bounds: the server checks those and names what it ignores."""
    facts = SERVER[key]
    kind, may_be_null, meaning, default = lua_settings()[key]
    if "enum" in facts:
        assert kind == "|".join(f"'{each}'" for each in facts["enum"])
    else:
        assert kind == LUA_TYPES.get(base_type(facts), "string")
    assert may_be_null == (facts["default"] is None)
    assert meaning == facts["description"]
    assert default == facts["default"]


KOTLIN_SPEC = re.compile(
    r"SettingSpec\(\n"
    r'\s+"(?P<key>\w+)",\n'
    r"\s+(?P<kind>\w+)(?:\((?P<arguments>.*)\))?,\n"
    r"\s+(?P<default>.*),\n"
    r"\s+isUserOnly = (?P<is_user_only>true|false),\n"
    r"\s+(?P<meaning>\".*\"),\n"
)
KOTLIN_KINDS = {"boolean": "Flag", "integer": "Whole", "number": "Real", "array": "Texts"}


def kotlin_settings() -> dict[str, dict[str, str]]:
    table = JETBRAINS / "src" / "main" / "kotlin" / "nemodiff" / "core" / "SettingsTable.kt"
    found = KOTLIN_SPEC.finditer(needs(table).read_text(encoding="utf-8"))
    return {each["key"]: each.groupdict(default="") for each in found}


def kotlin_value(text: str) -> Any:
    """The value of a literal in Kotlin."""
    if text.startswith("listOf("):
        return json.loads(f"[{text[len('listOf(') : -1]}]")
    if text == "emptyList<String>()":
        return []
    if text == "Long.MIN_VALUE":
        return -(2**63)
    return json.loads(re.sub(r"L$", "", text))


def test_kotlin_has_the_same_keys_in_the_same_order() -> None:
    assert list(kotlin_settings()) == KEYS


@pytest.mark.parametrize("key", KEYS)
def test_kotlin_agrees(key: str) -> None:
    facts, spec = SERVER[key], kotlin_settings()[key]
    kind = "Word" if "enum" in facts else KOTLIN_KINDS.get(base_type(facts), "Text")
    assert spec["kind"] == kind
    if kind in ("Whole", "Real"):
        bounds = [kotlin_value(each) for each in re.findall(_NUMBER, spec["arguments"])]
        assert bounds == [facts["minimum"], facts["maximum"]]
    elif kind in ("Word", "Texts"):
        choices = facts.get("enum", facts.get("items", {}).get("enum"))
        assert kotlin_value(spec["arguments"]) == choices
    assert kotlin_value(spec["default"]) == facts["default"]
    assert (spec["is_user_only"] == "true") == (facts["x-scope"] == "machine")
    assert json.loads(spec["meaning"].replace("\\$", "$")) == facts["description"]


def settings_script() -> ModuleType:
    path = JETBRAINS / "tools" / "settings_table.py"
    spec = importlib.util.spec_from_file_location("settings_table", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_what_the_plugin_knows_of_settings_is_up_to_date() -> None:
    """The Kotlin table and the schema of the template for LSP4IJ, to the letter."""
    for path, text in settings_script().files(schema()).items():
        assert path.read_text(encoding="utf-8") == text, path.name
