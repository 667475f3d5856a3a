"""Positions of the language server protocol (UTF-8, UTF-16 or UTF-32 units) to string indices.

Called by `snapshot.py`. Plain strings and integers only: no pygls, no lsprotocol.
"""

from __future__ import annotations

import re
from typing import NamedTuple

# The protocol knows three line ends and no others (str.splitlines would also cut at form feeds).
_LINE_END = re.compile(r"\r\n|\r|\n")


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
    line, start, end, is_beyond = _line_bounds(text, max(0, line))
    content = text[start:end]
    length = len(content) if is_beyond else _num_characters(content, max(0, character), encoding)
    return Place(start + length, line, num_units(content[:length], encoding))


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


def _line_bounds(text: str, line: int) -> tuple[int, int, int, bool]:
    """(line, start, end without its line end, whether the line asked for lies beyond the text)."""
    if text.count("\r") != text.count("\r\n"):
        return _line_bounds_with_lone_cr(text, line)
    # Split at C speed: the last piece starts at the line asked for (or at the text's last line).
    pieces = text.split("\n", min(line, len(text) + 1))
    found = len(pieces) - 1
    start = len(text) - len(pieces[-1])
    end = text.find("\n", start)
    if end < 0:
        end = len(text)
    elif text[start:end].endswith("\r"):
        end -= 1
    return found, start, end, found < line


def _line_bounds_with_lone_cr(text: str, line: int) -> tuple[int, int, int, bool]:
    start = 0
    found = 0
    for match in _LINE_END.finditer(text):
        if found == line:
            return found, start, match.start(), False
        start = match.end()
        found += 1
    return found, start, len(text), found < line


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
