"""Snapshot: a frozen view of one document at one cursor, with a window of the text around it.

Taken by `server.py` before its first await, because the document may be newer after it. No live
pygls object leaves this module. Costs as much as the window, however long the document is.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from urllib.parse import unquote

from lsprotocol import types

from nemodiff_lsp.documents.documents import Document
from nemodiff_lsp.documents.positions import num_units, with_newline, without_line_end

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
    line_before: what stands before `replaced` on its line; encoding: the unit of positions.
    num_before / num_after: length of the document's whole text before / after the place of
    insertion (characters, each line end counted as one), by which two snapshots of one document
    are laid side by side. key: the document's name for our own tables, one for all spellings of
    its uri.
    """

    uri: str
    version: int | None
    language_id: str | None
    prefix: str
    suffix: str
    newline: str
    replaced: types.Range
    typed: str
    line_before: str = ""
    encoding: str = "utf-16"
    num_before: int = 0
    num_after: int = 0
    key: str = ""

    def after(self, text: str) -> Snapshot:
        """The snapshot that follows when `text` (with ``\\n`` line ends) is inserted here."""
        inserted = with_newline(text, self.newline)
        lines = (self.line_before + self.typed + inserted).split(self.newline)
        line = self.replaced.start.line + len(lines) - 1
        place = types.Position(line, num_units(lines[-1], self.encoding))
        return replace(
            self,
            prefix=self.prefix + text,
            replaced=types.Range(place, place),
            typed="",
            line_before=lines[-1],
            num_before=self.num_before + len(text),
        )


def take_snapshot(
    document: Document,
    position: types.Position,
    selected: types.SelectedCompletionInfo | None,
    *,
    max_prefix_chars: int,
    max_suffix_chars: int,
) -> Snapshot:
    """The snapshot of `document` at `position`. Positions outside the document are clamped."""
    cursor = document.place(position)
    start, end, typed = cursor, cursor, ""
    if selected is not None:
        first = document.place(selected.range.start)
        last = document.place(selected.range.end)
        # A range that does not hold the cursor on one line cannot be shown inline: ignore it.
        if first <= cursor <= last and first[0] == last[0]:
            start, end, typed = first, last, selected.text
    newline = _newline(document, start[0])
    offset = document.offset_of_line(start[0]) + start[1]
    after = document.num_chars - document.offset_of_line(end[0]) - end[1]
    inserted = as_text(typed)
    # Two signs for one line end.
    lines_before, lines_after = start[0], len(document.lines) - 1 - end[0]
    extra_before, extra_after = (lines_before, lines_after) if newline == "\r\n" else (0, 0)
    return Snapshot(
        uri=document.uri,
        version=document.version,
        language_id=document.language_id,
        prefix=as_text(_text_before(document, start, offset, max_prefix_chars)) + inserted,
        suffix=as_text(_text_after(document, end, max_suffix_chars)),
        newline=newline,
        replaced=types.Range(_position(document, start), _position(document, end)),
        typed=typed,
        line_before=document.lines[start[0]][: start[1]],
        encoding=document.encoding,
        num_before=offset - extra_before + len(inserted),
        num_after=after - extra_after,
        key=unquote(document.uri),
    )


def _position(document: Document, place: tuple[int, int]) -> types.Position:
    line, column = place
    return types.Position(line, num_units(document.lines[line][:column], document.encoding))


def _newline(document: Document, line: int) -> str:
    """The line end in use around `line`: that of the line before it, else its own."""
    near = document.lines[line - 1] if line > 0 else document.lines[0]
    return near[len(without_line_end(near)) :] or "\n"


def as_text(text: str) -> str:
    """`text` with ``\\n`` line ends and without what UTF-8 cannot carry."""
    return _LONE_SURROGATE.sub("\ufffd", with_newline(text, "\n"))


def _text_before(document: Document, place: tuple[int, int], offset: int, max_chars: int) -> str:
    """The prefix: from a line start at most `max_chars` before `place`, chosen in strides."""
    lines, (line, column) = document.lines, place
    cut = offset - max_chars
    if cut > 0:
        stride = max(1, max_chars // _STRIDES_PER_WINDOW)
        cut = -(-cut // stride) * stride
    pieces = [lines[line][:column]]
    start = offset - column
    while start > cut and line > 0:
        line -= 1
        pieces.append(lines[line])
        start -= len(pieces[-1])
    text = "".join(reversed(pieces))
    if cut <= 0:
        return text
    line_end = text.find("\n", cut - start)
    # One line longer than the window (minified code) is cut inside the line.
    return text[line_end + 1 :] if line_end >= 0 else text[cut - start :]


def _text_after(document: Document, place: tuple[int, int], max_chars: int) -> str:
    """The suffix: up to the last line end within `max_chars` of `place`."""
    lines, (line, column) = document.lines, place
    pieces = [lines[line][column:]]
    num_chars = len(pieces[0])
    while num_chars <= max_chars and line + 1 < len(lines):
        line += 1
        pieces.append(lines[line])
        num_chars += len(pieces[-1])
    text = "".join(pieces)
    if num_chars <= max_chars:
        return text
    line_end = text.rfind("\n", 0, max_chars)
    return text[: line_end + 1] if line_end >= 0 else text[:max_chars]
