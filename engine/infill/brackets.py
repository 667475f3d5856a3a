"""Bracket and quote bookkeeping over source text of any language; approximate by design.

Used by the stop rules. Brackets inside quotes on one line are not counted; comments are.
"""

from __future__ import annotations

_OPENING = {"(": ")", "[": "]", "{": "}"}
CLOSING = frozenset(_OPENING.values())
_QUOTES = "\"'`"
_LONG_QUOTES = ('"""', "'''", "`")


def bracket_depth(text: str) -> int:
    """Opening minus closing brackets."""
    depth = 0
    for char, in_quotes in _scan(text):
        if not in_quotes:
            depth += (char in _OPENING) - (char in CLOSING)
    return depth


def surplus_closers(text: str) -> list[int]:
    """Indices of the closing brackets that nothing in `text` has opened."""
    depth, found = 0, []
    for at, (char, in_quotes) in enumerate(_scan(text)):
        if not in_quotes and char in _OPENING:
            depth += 1
        elif not in_quotes and char in CLOSING:
            if depth == 0:
                found.append(at)
            else:
                depth -= 1
    return found


def open_quote(line: str) -> str:
    """The quote character inside which `line` ends, or an empty string."""
    scanned = _scan_quotes(line)
    return scanned[-1][1] if scanned else ""


def first_quote(text: str, quote: str) -> int | None:
    """Index of the first `quote` in `text` that is not escaped."""
    is_escaped = False
    for at, char in enumerate(text):
        if char == quote and not is_escaped:
            return at
        is_escaped = char == "\\" and not is_escaped
    return None


def is_in_long_string(text: str) -> bool:
    """Whether `text` ends inside a string of several lines."""
    return any(text.count(quote) % 2 for quote in _LONG_QUOTES)


def _scan(text: str) -> list[tuple[str, bool]]:
    """Every character, and whether it stands inside quotes (the quotes themselves included)."""
    pairs, before = [], ""
    for char, quote in _scan_quotes(text):
        pairs.append((char, bool(quote or before)))
        before = quote
    return pairs


def _scan_quotes(text: str) -> list[tuple[str, str]]:
    """Every character, and the quote that is open after it. A line end closes any quote."""
    found, quote, is_escaped = [], "", False
    for char in text:
        if char == "\n":
            quote, is_escaped = "", False
        elif quote:
            if char == quote and not is_escaped:
                quote = ""
            is_escaped = char == "\\" and not is_escaped
        elif char in _QUOTES:
            quote, is_escaped = char, False
        found.append((char, quote))
    return found
