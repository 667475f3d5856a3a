"""Positions of the language server protocol (UTF-8, UTF-16 or UTF-32 units) to string indices.

Called by `documents.py` and `snapshot.py`. Strings and integers only: no pygls, no lsprotocol.
"""

from __future__ import annotations

import re
from typing import NamedTuple

# The protocol knows three line ends and no others (str.splitlines would also cut at form feeds).
_LINE_END = re.compile(r"\r\n|\r|\n")
_BEHIND_LINE_END = re.compile(r"(?<=\n)|(?<=\r)(?!\n)")


class Place(NamedTuple):
    """A position that exists: `offset` into the text, and its line and character (client units)."""

    offset: int
    line: int
    character: int


def locate(text: str, line: int, character: int, encoding: str) -> Place:
    """The place in `text` that a client calls (`line`, `character`).

    `character` counts units of `encoding` (``utf-8``, ``utf-16`` or ``utf-32``). As the protocol
    says, a character beyond the end of its line means the end of the line (before its line end);
    a line beyond the end of the text means the end of the text. A unit inside one character
    (half a surrogate pair) means the start of that character.
    """
    lines = split_lines(text)
    is_beyond = line >= len(lines)
    line = min(max(0, line), len(lines) - 1)
    length = len(lines[line]) if is_beyond else column_of(lines[line], character, encoding)
    start = sum(map(len, lines[:line]))
    return Place(start + length, line, num_units(lines[line][:length], encoding))


def split_lines(text: str) -> list[str]:
    """The lines of `text`, each with its line end; the last one has none and may be empty."""
    if "\r" in text:
        return _BEHIND_LINE_END.split(text)
    # Twice as fast as the pattern.
    *lines, last = text.split("\n")
    return [*(line + "\n" for line in lines), last]


def without_line_end(line: str) -> str:
    """`line` without the line end that it may have."""
    return line.rstrip("\r\n")


def column_of(line: str, character: int, encoding: str) -> int:
    """The index into `line` (line end allowed) that a client calls `character`; clamped."""
    return _num_characters(without_line_end(line), max(0, character), encoding)


def num_units(text: str, encoding: str) -> int:
    """Length of `text` in units of `encoding` (lone surrogates count as one UTF-16 unit)."""
    if encoding == "utf-32" or text.isascii():
        return len(text)
    if encoding == "utf-8":
        return len(text.encode("utf-8", "surrogatepass"))
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def line_start(text: str, index: int) -> int:
    """Index of the first character of the line that holds `index`."""
    return max(text.rfind("\n", 0, index), text.rfind("\r", 0, index)) + 1


def newline_near(text: str, index: int) -> str:
    """The line end in use around `index`: of the line before it, else the first one after it."""
    before = max(text.rfind("\n", 0, index), text.rfind("\r", 0, index))
    if before < 0:
        match = _LINE_END.search(text, index)
        return match.group() if match else "\n"
    if text[before] == "\r":
        return "\r"
    return "\r\n" if before > 0 and text[before - 1] == "\r" else "\n"


def with_newline(text: str, newline: str) -> str:
    """`text` with every line end turned into `newline`."""
    if "\r" not in text and newline == "\n":
        return text
    return _LINE_END.sub(newline, text)


def _num_characters(content: str, units: int, encoding: str) -> int:
    """How many whole characters of `content` fit into `units` units."""
    if encoding == "utf-32" or content.isascii():
        return min(units, len(content))
    # No character is shorter than one unit, so nothing beyond content[:units] can matter.
    used = 0
    for index, char in enumerate(content[:units]):
        used += num_units(char, encoding)
        if used > units:
            return index
    return min(units, len(content))
