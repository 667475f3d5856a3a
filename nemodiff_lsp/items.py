"""Completion to inline completion items: plain text, a zero-width range, best first.

Called by `server.py`. Pure functions of their arguments.
"""

from __future__ import annotations

from lsprotocol import types

from engine.messages.completion import Completion
from nemodiff_lsp.positions import with_newline
from nemodiff_lsp.snapshot import Snapshot


def build_items(
    snapshot: Snapshot, completion: Completion, max_items: int
) -> types.InlineCompletionList:
    """At most `max_items` distinct items in the engine's order; none when nothing is worth showing.

    The range is the snapshot's own, which no client draws wrongly: zero-width at the cursor, or
    that of the selected completion, whose text every item then starts with.
    """
    texts: dict[str, str] = {}
    for choice in sorted(completion.choices, key=lambda choice: choice.index):
        # Alternatives that differ only in trailing blanks look the same on the screen.
        visible = choice.text.rstrip()
        if visible and choice.finish_reason != "cancelled":
            texts.setdefault(visible, choice.text)
    return types.InlineCompletionList(
        items=[
            types.InlineCompletionItem(
                insert_text=snapshot.typed + with_newline(text, snapshot.newline),
                range=snapshot.replaced,
            )
            for text in list(texts.values())[:max_items]
        ]
    )
