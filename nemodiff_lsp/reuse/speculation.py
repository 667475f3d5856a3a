"""Speculative start: where the cursor will be after a change, for clients that wait before asking.

Called by `completion.py` at each didChange. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence

from lsprotocol import types

from nemodiff_lsp.documents.positions import num_units, split_lines

# What editors insert as a pair, with the cursor in between.
_PAIRS = ("()", "[]", "{}", "<>", '""', "''", "``")


def cursor_after(
    changes: Sequence[types.TextDocumentContentChangeEvent], encoding: str
) -> types.Position | None:
    """Where the cursor should be after a didChange: behind what was inserted, or where text went.

    None for a change of several places or of the whole text, after which it may be anywhere.
    """
    if len(changes) != 1 or not isinstance(changes[0], types.TextDocumentContentChangePartial):
        return None
    start, text = changes[0].range.start, changes[0].text
    if text in _PAIRS:
        text = text[:1]
    lines = split_lines(text)
    width = num_units(lines[-1], encoding)
    if len(lines) == 1:
        return types.Position(start.line, start.character + width)
    return types.Position(start.line + len(lines) - 1, width)
