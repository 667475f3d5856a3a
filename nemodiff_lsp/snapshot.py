"""Snapshot: a frozen view of one document at one cursor, with a window of the text around it.

Taken by `server.py` before its first await, because the document may be newer after it. No live
pygls object leaves this module.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from lsprotocol import types
from pygls.workspace import TextDocument

from nemodiff_lsp.positions import Place, locate, newline_near, with_newline

# Editors can hold half a surrogate pair; it is not text, and UTF-8 cannot carry it.
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")
# The start of the window moves in steps of this share of the budget: it stays where it is while
# the user types, and so the engine's cached prompt stays valid from keystroke to keystroke.
_STRIDES_PER_WINDOW = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """What one request for a completion knows.

    prefix / suffix: text before / after the place of insertion, with ``\\n`` line ends whatever
    the document uses; newline: the document's own line end. replaced: the range that the item
    takes (zero-width at the cursor, or the selected completion's range); typed: what the inserted
    text must start with (the selected completion's text, else empty), already part of prefix.
    """

    uri: str
    version: int | None
    language_id: str | None
    prefix: str
    suffix: str
    newline: str
    replaced: types.Range
    typed: str


def take_snapshot(
    document: TextDocument,
    position: types.Position,
    selected: types.SelectedCompletionInfo | None,
    *,
    max_prefix_chars: int,
    max_suffix_chars: int,
) -> Snapshot:
    """The snapshot of `document` at `position`. Positions outside the document are clamped."""
    text = document.source
    encoding = _encoding(document)
    cursor = locate(text, position.line, position.character, encoding)
    start, end, typed = cursor, cursor, ""
    if selected is not None:
        first = locate(text, selected.range.start.line, selected.range.start.character, encoding)
        last = locate(text, selected.range.end.line, selected.range.end.character, encoding)
        # A range that does not hold the cursor on one line cannot be shown inline: ignore it.
        if first.offset <= cursor.offset <= last.offset and first.line == last.line:
            start, end, typed = first, last, selected.text
    prefix = text[_window_start(text, start.offset, max_prefix_chars) : start.offset]
    suffix = text[end.offset : _window_end(text, end.offset, max_suffix_chars)]
    return Snapshot(
        uri=document.uri,
        version=document.version,
        language_id=document.language_id,
        prefix=_as_text(prefix + typed),
        suffix=_as_text(suffix),
        newline=newline_near(text, cursor.offset),
        replaced=types.Range(_position(start), _position(end)),
        typed=typed,
    )


def _encoding(document: TextDocument) -> str:
    encoding = document.position_codec.encoding or types.PositionEncodingKind.Utf16
    return encoding.value if isinstance(encoding, types.PositionEncodingKind) else encoding


def _position(place: Place) -> types.Position:
    return types.Position(line=place.line, character=place.character)


def _as_text(text: str) -> str:
    return _LONE_SURROGATE.sub("\ufffd", with_newline(text, "\n"))


def _window_start(text: str, index: int, max_chars: int) -> int:
    """Where the prefix starts: a line start at most `max_chars` before `index`, in strides."""
    stride = max(1, max_chars // _STRIDES_PER_WINDOW)
    cut = index - max_chars
    if cut <= 0:
        return 0
    cut = -(-cut // stride) * stride
    line_end = text.find("\n", cut, index)
    # One line longer than the window (minified code) is cut inside the line.
    return line_end + 1 if line_end >= 0 else cut


def _window_end(text: str, index: int, max_chars: int) -> int:
    """Where the suffix ends: after the last line end within `max_chars` of `index`."""
    if len(text) - index <= max_chars:
        return len(text)
    line_end = text.rfind("\n", index, index + max_chars)
    return line_end + 1 if line_end >= 0 else index + max_chars
