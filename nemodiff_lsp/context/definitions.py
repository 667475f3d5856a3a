"""Definitions: signatures behind the imports of the completed file. A source of `collector.py`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from engine.messages.completion import Snippet
from nemodiff_lsp.context.dialects import Dialect, dialect_of
from nemodiff_lsp.context.files import WorkspaceFiles
from nemodiff_lsp.context.imports import Import, files_of, imports_of
from nemodiff_lsp.context.outline import outline

_MAX_IMPORTS = 40
_MAX_CHARS_PER_FILE = 1_600
# A package's __init__.py hands on what its modules define.
_MAX_HOPS = 2
_LOOK_BACK_CHARS = 1_500
_WORD = re.compile(r"\w+")


def imported_definitions(
    text: str, path: Path, language_id: str | None, files: WorkspaceFiles, *, near: str
) -> list[Snippet]:
    """One piece for each file that `text`, the document at `path`, takes names from.

    near: the text around the cursor. Names that occur in it come first: they are in use.
    """
    dialect = dialect_of(language_id, path.suffix)
    if dialect is None:
        return []
    words = set(_WORD.findall(near[-_LOOK_BACK_CHARS:]))
    pieces: dict[Path, tuple[int, str]] = {}
    for each in imports_of(text, dialect)[:_MAX_IMPORTS]:
        for found, names in _defining(each, path, files, dialect, _MAX_HOPS):
            body = outline(files.text(found) or "", names, dialect)
            if not body.strip():
                continue
            used = len(words & set(names or ()))
            before, known = pieces.get(found, (0, ""))
            joined = body if not known or body in known else f"{known}\n{body}"
            pieces[found] = (before + used, joined)
    best_first = sorted(pieces.items(), key=lambda item: -item[1][0])
    return [Snippet(files.shown_path(found), _cut(body)) for found, (_, body) in best_first]


def _defining(
    each: Import, path: Path, files: WorkspaceFiles, dialect: Dialect, hops: int
) -> Iterator[tuple[Path, frozenset[str] | None]]:
    """Files with the names of `each` that they define, re-exports followed."""
    for found in files_of(each, path, files.folders, dialect):
        text = files.text(found)
        if text is None:
            continue
        if dialect.family == "python" and each.names and found.stem in each.names:
            # `from package import module`: what the module defines is reached through its name.
            yield found, None
            continue
        yield found, each.names
        if hops and found.stem in ("__init__", "index", "mod", "lib"):
            for inner in imports_of(text, dialect)[:_MAX_IMPORTS]:
                if each.names is None or inner.names is None:
                    continue
                handed_on = each.names & inner.names
                if handed_on:
                    again = Import(inner.module, handed_on)
                    yield from _defining(again, found, files, dialect, hops - 1)


def _cut(body: str) -> str:
    if len(body) <= _MAX_CHARS_PER_FILE:
        return body
    return body[: body.rfind("\n", 0, _MAX_CHARS_PER_FILE)]
