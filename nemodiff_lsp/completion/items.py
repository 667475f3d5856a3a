"""Texts to inline completion items, or to items of the completion menu, as the client draws them.

Called by `inline.py`. Pure functions of their arguments.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from lsprotocol import types

from nemodiff_lsp.clients.profile import ClientProfile, RangeStyle
from nemodiff_lsp.commands.commands import item_command
from nemodiff_lsp.documents.positions import num_units, with_newline
from nemodiff_lsp.documents.snapshot import Snapshot

_WORD_LEFT = re.compile(r"\w*\Z")
_MAX_LABEL_CHARS = 60


def inline_items(
    snapshot: Snapshot, texts: Sequence[str], profile: ClientProfile, offer_id: str
) -> types.InlineCompletionList:
    """One item for each text, best first.

    The range never reaches beyond the snapshot's own, which is zero-width at the cursor or that of
    the selected completion, whose text every item then starts with.
    """
    before, replaced = _replaced(snapshot, profile.range_style)
    items = []
    for text in texts:
        insert_text = before + snapshot.typed + with_newline(text, snapshot.newline)
        command = None
        if profile.runs_command:
            command = item_command(offer_id, len(text), is_copilots=profile.reports_shown)
        items.append(
            types.InlineCompletionItem(insert_text=insert_text, range=replaced, command=command)
        )
    return types.InlineCompletionList(items=items)


def menu_items(
    snapshot: Snapshot, texts: Sequence[str], profile: ClientProfile, offer_id: str
) -> types.CompletionList:
    """The same for clients without inline completion: first in the menu, and chosen already.

    A menu filters by the word left of the cursor, so an item replaces that word.
    """
    before, replaced = _replaced(snapshot, "word")
    items = []
    for number, text in enumerate(texts):
        new_text = before + with_newline(text, snapshot.newline)
        first_line = (before + text).strip("\n").partition("\n")[0].strip()
        items.append(
            types.CompletionItem(
                label=first_line[:_MAX_LABEL_CHARS],
                kind=types.CompletionItemKind.Text,
                detail="NemoDiff",
                documentation=text if "\n" in text else None,
                text_edit=types.TextEdit(replaced, new_text),
                insert_text_format=types.InsertTextFormat.PlainText,
                filter_text=new_text,
                # Sorts before whatever begins with a letter.
                sort_text=f" {number}",
                preselect=number == 0,
                command=item_command(offer_id, len(text)) if profile.runs_command else None,
            )
        )
    # Incomplete, so that the client asks again when the user types on.
    return types.CompletionList(is_incomplete=True, items=items)


def _replaced(snapshot: Snapshot, style: RangeStyle) -> tuple[str, types.Range]:
    """The text left of the snapshot's range that the item repeats, and the range that covers it."""
    line = snapshot.line_before
    if style == "zero":
        return "", snapshot.replaced
    match = _WORD_LEFT.search(line)
    start = 0 if style == "line" or match is None else match.start()
    first = types.Position(snapshot.replaced.start.line, num_units(line[:start], snapshot.encoding))
    return line[start:], types.Range(first, snapshot.replaced.end)
