"""Dialects: how each language imports and defines, as patterns over lines.

Read by `imports.py` and `outline.py`. Lines, not trees: a file that is being edited seldom parses,
and a definition's first line is easy to know.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

Family = Literal["python", "script", "rust", "go"]


@dataclass(frozen=True, slots=True)
class Dialect:
    """definition: a top-level definition, its name in group ``name``. holds_members: one whose
    body's own lines (fields, methods) say how it is used. endings: of the language's files."""

    family: Family
    endings: tuple[str, ...]
    definition: re.Pattern[str]
    holds_members: re.Pattern[str]
    comment: str


_PYTHON = Dialect(
    "python",
    (".py", ".pyi"),
    re.compile(r"(?:(?:async\s+)?def|class)\s+(?P<name>\w+)|(?P<variable>\w+)\s*(?::[^=]+)?=(?!=)"),
    re.compile(r"class\b"),
    "#",
)
_SCRIPT = Dialect(
    "script",
    (".ts", ".tsx", ".js", ".jsx", ".mjs", ".cjs", ".mts", ".cts"),
    re.compile(
        r"(?:export\s+)?(?:default\s+)?(?:declare\s+)?(?:abstract\s+)?(?:async\s+)?"
        r"(?:function\*?|class|interface|type|enum|const|let|var|namespace)\s+(?P<name>[\w$]+)"
    ),
    re.compile(
        r"(?:export\s+)?(?:default\s+)?(?:declare\s+)?(?:abstract\s+)?(?:class|interface|type|enum)\b"
    ),
    "//",
)
_RUST = Dialect(
    "rust",
    (".rs",),
    re.compile(
        r"(?:pub(?:\([^)]*\))?\s+)?(?:unsafe\s+)?(?:async\s+)?(?:const\s+)?"
        r"(?:fn|struct|enum|trait|type|static|const|mod)\s+(?P<name>\w+)"
        r"|impl(?:<[^>]*>)?\s+(?:[\w:<>, ]+\s+for\s+)?(?P<owner>\w+)"
    ),
    re.compile(r"(?:pub(?:\([^)]*\))?\s+)?(?:unsafe\s+)?(?:struct|enum|trait|impl)\b"),
    "//",
)
_GO = Dialect(
    "go",
    (".go",),
    re.compile(
        r"func\s+(?:\(\s*\w*\s*\*?(?P<owner>\w+)[^)]*\)\s*)?(?P<name>\w+)"
        r"|(?:type|var|const)\s+(?P<variable>\w+)"
    ),
    re.compile(r"type\b"),
    "//",
)
_BY_ID = {
    "python": _PYTHON,
    "typescript": _SCRIPT,
    "typescriptreact": _SCRIPT,
    "javascript": _SCRIPT,
    "javascriptreact": _SCRIPT,
    "rust": _RUST,
    "go": _GO,
}
_BY_ENDING = {ending: row for row in (_PYTHON, _SCRIPT, _RUST, _GO) for ending in row.endings}


def dialect_of(language_id: str | None, file_ending: str) -> Dialect | None:
    """By the protocol's language id, else by the file's ending (``.py``); None if unknown."""
    return _BY_ID.get(language_id or "") or _BY_ENDING.get(file_ending)
