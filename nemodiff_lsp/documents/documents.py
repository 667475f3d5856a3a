"""Document and Documents: the open texts as lists of lines, edited in place.

Created by `protocol.py` in place of pygls' own, which cut lines at form feeds and other signs that
are no line ends in the protocol (edits would land in the wrong place), and which walk through the
whole text for each edit.
"""

from __future__ import annotations

import itertools
from typing import Any
from urllib.parse import unquote

from lsprotocol import types
from pygls.workspace import PositionCodec, TextDocument, Workspace

from nemodiff_lsp.documents.measures import Measures, measure
from nemodiff_lsp.documents.positions import column_of, split_lines

_STAMPS = itertools.count()
_LINES_AT_ONCE = 256


class Document(TextDocument):
    """An open document. `lines`: each with its line end, the last one without; never empty.

    Edited on the event loop only. `lines`, `source` and `stamp` may be read from any thread.
    """

    def __init__(
        self,
        uri: str,
        source: str | None = None,
        version: int | None = None,
        language_id: str | None = None,
        position_codec: PositionCodec | None = None,
    ) -> None:
        super().__init__(uri, None, version, language_id, position_codec=position_codec)
        # The stamp from before the text was put together, and the text.
        self._joined: tuple[int, str] | None = None
        self._set_text(source or "")

    @property
    def lines(self) -> list[str]:
        """The lines themselves, to be read only."""
        return self._lines

    @property
    def stamp(self) -> int:
        """Names this text: no other text of any document has it, whatever the client counts.

        It is the last thing that an edit changes. So a thread that reads it before the text has a
        stamp that is void by the time the text can be another one.
        """
        return self._stamp

    @property
    def source(self) -> str:
        """The whole text; put together once between two edits."""
        joined = self._joined
        if joined is None or joined[0] != self._stamp:
            joined = self._joined = (self._stamp, "".join(self._lines))
        return joined[1]

    @property
    def measures(self) -> Measures | None:
        """What is counted of the text; None before the first edit of a part of it."""
        return self._measures

    def start(self, num_chars: int) -> str:
        """The first lines of the text: at least `num_chars` characters, or all of it."""
        if num_chars >= self._num_chars:
            return self.source
        pieces, length = [], 0
        # Many lines at a time, because a step for each line of a long text is felt.
        for first in itertools.count(step=_LINES_AT_ONCE):
            if length >= num_chars or first >= len(self._lines):
                break
            pieces.append("".join(self._lines[first : first + _LINES_AT_ONCE]))
            length += len(pieces[-1])
        return "".join(pieces)

    @property
    def num_chars(self) -> int:
        """Length of the text, line ends included."""
        return self._num_chars

    @property
    def encoding(self) -> str:
        """The unit of the client's positions: ``utf-8``, ``utf-16`` or ``utf-32``."""
        encoding = self.position_codec.encoding or types.PositionEncodingKind.Utf16
        return encoding.value if isinstance(encoding, types.PositionEncodingKind) else encoding

    def place(self, position: types.Position) -> tuple[int, int]:
        """(line, column) of `position` in lines and characters, clamped to what there is."""
        last = len(self._lines) - 1
        if position.line > last:
            return last, len(self._lines[last])
        line = max(0, position.line)
        return line, column_of(self._lines[line], position.character, self.encoding)

    def offset_of_line(self, line: int) -> int:
        """How many characters stand before line number `line`, which must exist."""
        self._seek(line)
        return self._mark_offset

    def apply_change(self, change: types.TextDocumentContentChangeEvent) -> None:
        """Apply one change of a didChange notification: a whole text or a range of it."""
        if isinstance(change, types.TextDocumentContentChangePartial):
            start, end = self.place(change.range.start), self.place(change.range.end)
            # A range that ends before it starts is taken the other way round.
            self._replace(min(start, end), max(start, end), change.text)
        else:
            self._set_text(change.text)

    def _set_text(self, text: str) -> None:
        self._lines = split_lines(text)
        self._num_chars = len(text)
        # Counting takes longer than what a whole text costs that is judged once.
        self._measures: Measures | None = None
        self._stamp = next(_STAMPS)
        self._joined = (self._stamp, text)
        # A line whose offset is known; it follows the edits, so that no lookup has far to go.
        self._mark_line = self._mark_offset = 0

    def _replace(self, start: tuple[int, int], end: tuple[int, int], text: str) -> None:
        (first, start_column), (last, end_column) = start, end
        new = self._lines[first][:start_column] + text + self._lines[last][end_column:]
        # A line feed that comes to stand behind a carriage return makes one line end with it.
        if first > 0 and new.startswith("\n") and self._lines[first - 1].endswith("\r"):
            first -= 1
            new = self._lines[first] + new
        self._seek(first)
        old = self._lines[first : last + 1]
        lines = split_lines(new)
        if last + 1 < len(self._lines) and not lines[-1]:
            # What follows the last line end is the line that was not touched.
            lines.pop()
        measures = (self._measures or measure(self._lines)).after(old, lines)
        self._lines[first : last + 1] = lines
        self._num_chars += len(new) - sum(map(len, old))
        self._measures = measures
        self._stamp = next(_STAMPS)

    def _seek(self, line: int) -> None:
        while self._mark_line < line:
            self._mark_offset += len(self._lines[self._mark_line])
            self._mark_line += 1
        while self._mark_line > line:
            self._mark_line -= 1
            self._mark_offset -= len(self._lines[self._mark_line])


class Documents(Workspace):
    """pygls' workspace, whose documents are ours."""

    @classmethod
    def like(cls, workspace: Workspace) -> Documents:
        """An empty workspace with the root, the folders and the encoding of `workspace`."""
        return cls(
            workspace.root_uri,
            types.TextDocumentSyncKind.Incremental,
            list(workspace.folders.values()),
            workspace.position_encoding,
        )

    def _create_text_document(
        self,
        doc_uri: str,
        source: str | None = None,
        version: int | None = None,
        language_id: str | None = None,
    ) -> Any:
        return Document(doc_uri, source, version, language_id, self.position_codec)

    def get_text_document(self, doc_uri: str) -> TextDocument:
        """The open document. Raises KeyError for any other: pygls would read it from the disk."""
        document: TextDocument = self.text_documents[unquote(doc_uri)]
        return document
