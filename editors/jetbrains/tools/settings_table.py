"""Writes what the plugin and the template know of the server's settings, from its own schema.

`python editors/jetbrains/tools/settings_table.py` brings SettingsTable.kt and the template's
settings.schema.json up to date; with `--check` it only says whether they are.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parents[1]
TABLE = FOLDER / "src" / "main" / "kotlin" / "nemodiff" / "core" / "SettingsTable.kt"
TEMPLATE_SCHEMA = FOLDER / "lsp4ij-template" / "nemodiff" / "settings.schema.json"

_MIN_LONG = -(2**63)


def files(schema: Mapping[str, Any]) -> dict[Path, str]:
    """The text of each file that follows from the server's schema."""
    properties = {
        key: {name: fact for name, fact in facts.items() if not name.startswith("x-")}
        for key, facts in schema["properties"].items()
    }
    section = {"type": "object", "properties": properties, "additionalProperties": False}
    template = {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "NemoDiff's settings",
        "type": "object",
        "properties": {"nemodiff": section},
        "additionalProperties": False,
    }
    return {TABLE: _table(schema), TEMPLATE_SCHEMA: json.dumps(template, indent=2) + "\n"}


def _table(schema: Mapping[str, Any]) -> str:
    specs = "\n".join(_spec(key, facts) for key, facts in schema["properties"].items())
    return (
        "package nemodiff.core\n\n"
        "// Written by tools/settings_table.py from the server's own schema; do not edit.\n\n"
        f"val SETTINGS: List<SettingSpec> = listOf(\n{specs}\n)\n"
    )


def _spec(key: str, facts: Mapping[str, Any]) -> str:
    is_user_only = "true" if facts["x-scope"] == "machine" else "false"
    lines = [
        f"    SettingSpec(\n        {_text(key)},",
        f"        {_kind(facts)},",
        f"        {_value(facts['default'], _type(facts))},",
        f"        isUserOnly = {is_user_only},",
        f"        {_text(facts['description'])},\n    ),",
    ]
    return "\n".join(lines)


def _type(facts: Mapping[str, Any]) -> str:
    named = facts["type"]
    return named if isinstance(named, str) else next(each for each in named if each != "null")


def _kind(facts: Mapping[str, Any]) -> str:
    kind = _type(facts)
    if kind == "boolean":
        return "Flag"
    if kind in ("integer", "number"):
        name = "Whole" if kind == "integer" else "Real"
        return f"{name}({_value(facts['minimum'], kind)}, {_value(facts['maximum'], kind)})"
    if kind == "array":
        choices = facts["items"].get("enum")
        return f"Texts({'null' if choices is None else _value(choices, 'array')})"
    return f"Word({_value(facts['enum'], 'array')})" if "enum" in facts else "Text"


def _value(value: Any, kind: str) -> str:
    if value is None:
        return "null"
    if isinstance(value, list):
        return f"listOf({', '.join(map(_text, value))})" if value else "emptyList<String>()"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return _text(value)
    if kind == "number":
        return repr(float(value))
    # Kotlin reads the lowest number as a minus before one that is too large.
    return "Long.MIN_VALUE" if value == _MIN_LONG else f"{value}L"


def _text(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).replace("$", "\\$")


def main() -> int:
    sys.path.insert(0, str(FOLDER.parents[1]))
    from nemodiff_lsp.settings.table import schema

    stale = []
    for path, text in files(schema()).items():
        if path.exists() and path.read_text(encoding="utf-8") == text:
            continue
        stale.append(path.name)
        if "--check" not in sys.argv:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    if stale and "--check" in sys.argv:
        sys.stderr.write(f"Not up to date: {', '.join(stale)}.\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
