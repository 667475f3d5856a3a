"""What the user has typed between two snapshots, and what that leaves of an older text.

Pure functions, called by the other modules of this package.
"""

from __future__ import annotations

import re

from nemodiff_lsp.documents.snapshot import Snapshot

MAX_TYPED_CHARS = 4_096
"""Nobody types further along one offer; longer steps are other edits."""

_MAX_CLOSED_CHARS = 256
# What editors put right of the cursor by themselves: closing brackets and quotes, the end of a
# block on a line of its own, and the end of a tag's attribute.
_CLOSERS = re.compile(r"[\s)\]}>\"'`;,]*")
_WORD = re.compile(r"\w+|[^\S\n]+|.", re.DOTALL)


def typed_since(then: Snapshot, now: Snapshot) -> str | None:
    """What stands before the cursor `now` and did not `then`; None unless all else is the same.

    All else: whatever both snapshots show of the document and its length beyond them. Closing
    brackets that the editor has put right of the cursor while the user typed do not count.
    """
    num_typed = now.num_before - then.num_before
    if now.key != then.key or not 0 <= num_typed <= MAX_TYPED_CHARS:
        return None
    middle = len(now.prefix) - num_typed
    if middle < 0 or not _ends_alike(then.prefix, now.prefix[:middle]):
        return None
    num_closed = now.num_after - then.num_after
    if not 0 <= num_closed <= (_MAX_CLOSED_CHARS if num_typed else 0):
        return None
    if not _CLOSERS.fullmatch(now.suffix, 0, num_closed) or len(now.suffix) < num_closed:
        return None
    if not _starts_alike(then.suffix, now.suffix[num_closed:]):
        return None
    return now.prefix[middle:]


def carry_over(offered: str, typed: str) -> str:
    """What of `offered` may still follow behind `typed`, which was typed in its place.

    Compared word by word. Where two differ, both are dropped and the comparison goes on behind
    them: only what conflicts is lost. Empty when `typed` has outrun the text.
    """
    words = _WORD.findall(offered)
    at = 0
    for number, mine in enumerate(typed_words := _WORD.findall(typed)):
        is_last = number == len(typed_words) - 1
        if at < len(words) and words[at] != mine:
            if is_last and words[at].startswith(mine):
                return "".join(words[at:])[len(mine) :]
            if mine.isspace() and not words[at].isspace():
                continue
            if words[at].isspace() and not mine.isspace():
                at += 1
        at += 1
    return "".join(words[at:])


def _ends_alike(first: str, second: str) -> bool:
    length = min(len(first), len(second))
    return first[len(first) - length :] == second[len(second) - length :]


def _starts_alike(first: str, second: str) -> bool:
    length = min(len(first), len(second))
    return first[:length] == second[:length]
