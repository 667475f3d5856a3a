"""Writes the types of the server's settings for Lua, from the server itself.

``python editors/neovim/write_settings.py`` brings lua/nemodiff/settings.lua up to date; a test sees
to it that this has been done.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from nemodiff_lsp.settings.table import schema

TARGET = Path(__file__).parent / "lua" / "nemodiff" / "settings.lua"

_HEAD = """--- The settings of the language server. Written by write_settings.py; do not edit.

---@meta

---@class nemodiff.Settings
"""
_TYPES = {"array": "string[]", "null": "vim.NIL"}


def annotations() -> str:
    """The whole file."""
    fields = [_field(name, known) for name, known in schema()["properties"].items()]
    return _HEAD + "\n".join(fields) + "\n"


def _field(name: str, known: dict[str, Any]) -> str:
    if "enum" in known:
        kind = "|".join(f"'{word}'" for word in known["enum"])
    else:
        kinds = known["type"] if isinstance(known["type"], list) else [known["type"]]
        kind = "|".join(_TYPES.get(each, each) for each in kinds)
    default = json.dumps(known["default"])
    return f"---@field {name}? {kind} {known['description']} (default: {default})"


if __name__ == "__main__":
    TARGET.write_text(annotations(), encoding="utf-8")
