"""ContextCollector: pieces of other files for a request, best first, within a budget.

Owned by `server.py`, asked by the pipeline. Nothing here waits on the disk in the event loop: the
definitions behind imports are looked up in a thread and kept until the imports change.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

from pygls.uris import to_fs_path

from engine.messages.completion import MAX_SNIPPETS, Snippet
from nemodiff_lsp.context.definitions import imported_definitions
from nemodiff_lsp.context.dialects import dialect_of
from nemodiff_lsp.context.files import WorkspaceFiles
from nemodiff_lsp.context.neighbours import likest_windows
from nemodiff_lsp.context.regions import RecentRegions
from nemodiff_lsp.documents.snapshot import as_text

Source = Literal["imports", "recent", "neighbours"]
SOURCES: tuple[Source, ...] = get_args(Source)

_MAX_DOCUMENTS_KEPT = 64
_MAX_NEIGHBOURS = 8
# What a first look at the imports may cost a request; afterwards the answer is there.
PATIENCE_S = 0.03
# Imported files change, too: in other windows, on the disk.
_STALE_AFTER_S = 5.0
_HEAD_LINES = 400
_NEAR_CHARS = 2_000
_MIN_PIECE_CHARS = 40


@dataclass(frozen=True, slots=True)
class Cursor:
    """Where context is wanted for. near: the text before the cursor, some lines suffice."""

    uri: str
    language_id: str | None
    near: str


@dataclass(slots=True)
class _LookUp:
    """What the imports of one document lead to, as last found, and the search under way.

    key: a digest of the imports.
    """

    key: str = ""
    started_s: float = float("-inf")
    task: asyncio.Task[list[Snippet]] | None = None
    found: list[Snippet] = field(default_factory=list)


class ContextCollector:
    """Used from the event loop only.

    folders: of the workspace. is_allowed(uri, text): the privacy policy. lines_of(uri): the lines
    of an open document with their ends, else None. sources: those in use. patience_s: how long a
    request waits for the first look at its imports.
    """

    def __init__(
        self,
        folders: Sequence[Path],
        *,
        is_allowed: Callable[[str, str | None], bool],
        lines_of: Callable[[str], Sequence[str] | None],
        sources: Collection[Source] = SOURCES,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self._sources = frozenset(sources)
        self._is_allowed, self._lines_of = is_allowed, lines_of
        self._patience_s = patience_s
        self._files = WorkspaceFiles(folders, is_allowed=is_allowed, open_text=self._open_text)
        self._regions = RecentRegions()
        self._open: OrderedDict[str, str | None] = OrderedDict()
        self._look_ups: dict[str, _LookUp] = {}

    def opened(self, uri: str, language_id: str | None) -> None:
        """A document was opened or shown."""
        self._open[uri] = language_id
        self._open.move_to_end(uri)
        while len(self._open) > _MAX_DOCUMENTS_KEPT:
            self.closed(next(iter(self._open)))

    def touched(self, uri: str, line: int) -> None:
        """The user edited or looked at `line` of an open document."""
        self._regions.touched(uri, line)
        if uri in self._open:
            self._open.move_to_end(uri)

    def closed(self, uri: str) -> None:
        """The document was closed; what its definitions say is read from the disk from now on."""
        self._open.pop(uri, None)
        self._regions.forget(uri)
        self._forget(uri)

    async def snippets(self, cursor: Cursor, *, max_chars: int) -> tuple[Snippet, ...]:
        """Pieces of other files, best first, of at most `max_chars` characters together."""
        if max_chars < _MIN_PIECE_CHARS or not self._sources:
            return ()
        defined = await self._ready_definitions(cursor) if "imports" in self._sources else []
        return _fitting([*defined, *self._others(cursor)], max_chars)

    def _others(self, cursor: Cursor) -> Iterator[Snippet]:
        shown: dict[str, list[int]] = {}
        if "recent" in self._sources:
            for uri, first, text in self._regions.pieces(cursor.uri, self._allowed_lines):
                shown.setdefault(uri, []).append(first)
                yield Snippet(self._shown_path(uri), text)
        if "neighbours" in self._sources:
            for window in likest_windows(cursor.near[-_NEAR_CHARS:], self._neighbours(cursor)):
                # A region that was edited lately has been shown already.
                if all(abs(window.first - first) > 10 for first in shown.get(window.uri, ())):
                    yield Snippet(self._shown_path(window.uri), window.text)

    def _neighbours(self, cursor: Cursor) -> Iterator[tuple[str, Sequence[str]]]:
        own = dialect_of(cursor.language_id, Path(cursor.uri).suffix)
        num_seen = 0
        for uri in reversed(list(self._open)):
            other = dialect_of(self._open[uri], Path(uri).suffix)
            if uri == cursor.uri or other is not own or num_seen == _MAX_NEIGHBOURS:
                continue
            lines = self._allowed_lines(uri)
            if lines:
                num_seen += 1
                yield uri, lines

    def _allowed_lines(self, uri: str) -> Sequence[str] | None:
        lines = self._lines_of(uri)
        if lines is None or not self._is_allowed(uri, None):
            return None
        return lines

    async def _ready_definitions(self, cursor: Cursor) -> list[Snippet]:
        """What the imports of the document lead to; nothing while that is still looked up."""
        lines, path = self._lines_of(cursor.uri), to_fs_path(cursor.uri)
        if lines is None or not path:
            return []
        head = "".join(lines[:_HEAD_LINES])
        key = hashlib.blake2b(_imports_only(head).encode("utf-8", "replace")).hexdigest()
        look_up = self._look_ups.setdefault(cursor.uri, _LookUp())
        while len(self._look_ups) > _MAX_DOCUMENTS_KEPT:
            self._forget(next(iter(self._look_ups)))
        is_stale = time.monotonic() - look_up.started_s > _STALE_AFTER_S
        if look_up.task is None and (is_stale or look_up.key != key):
            look_up.key, look_up.started_s = key, time.monotonic()
            work = asyncio.to_thread(
                imported_definitions,
                head,
                Path(path),
                cursor.language_id,
                self._files,
                near=cursor.near,
            )
            look_up.task = asyncio.ensure_future(work)
        if look_up.task is not None:
            await asyncio.wait({look_up.task}, timeout=self._patience_s)
            _take_over(look_up)
        return look_up.found

    def _forget(self, uri: str) -> None:
        look_up = self._look_ups.pop(uri, None)
        if look_up is not None and look_up.task is not None:
            look_up.task.cancel()

    def _open_text(self, uri: str) -> str | None:
        lines = self._lines_of(uri)
        return None if lines is None else "".join(lines)

    def _shown_path(self, uri: str) -> str:
        path = to_fs_path(uri)
        return self._files.shown_path(Path(path)) if path else "untitled"


def _imports_only(head: str) -> str:
    """The lines that may import: what is typed elsewhere must not start a new look-up."""
    words = ("import", "from ", "require", "use ", "mod ", '"')
    return "\n".join(line for line in head.split("\n") if any(word in line for word in words))


def _take_over(look_up: _LookUp) -> None:
    """The result of a search that has ended; one that failed leaves what was known."""
    task = look_up.task
    if task is not None and task.done():
        look_up.task = None
        if not task.cancelled() and task.exception() is None:
            look_up.found = task.result()


def _fitting(pieces: Sequence[Snippet], max_chars: int) -> tuple[Snippet, ...]:
    """The first of `pieces` that fit, the last one cut at a line end."""
    found: list[Snippet] = []
    left = max_chars
    for piece in pieces:
        if left < _MIN_PIECE_CHARS or len(found) == MAX_SNIPPETS:
            break
        text = as_text(piece.text)
        if len(text) > left:
            text = text[: max(0, text.rfind("\n", 0, left))]
        if text.strip():
            path = as_text(piece.path)
            found.append(Snippet(path, text))
            left -= len(text) + len(path)
    return tuple(found)
