"""Typist: which keys make an edit, one after the other. Used by `replay.py`.

Types as a person does in an editor that indents by itself and does nothing else: text character by
character, a line end together with the indentation that comes with it, a wrong indentation with one
key, short deletions with backspace and long ones by selecting first.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from nemodiff_lsp.bench.typing_trace import Edit

MAX_BACKSPACES = 8
"""More characters than this, or a line end among them, are selected and deleted at once."""

_INDENTATION = re.compile(r"[ \t]*")
_OPENERS = (":", "(", "[", "{")
_DEFAULT_UNIT = "    "


@dataclass(frozen=True, slots=True)
class Key:
    """One key: `num_deleted` characters before the cursor go, `inserted` comes."""

    num_deleted: int
    inserted: str


class Typist:
    """Makes `edits` in `text`. `text` and `cursor` are the document and the cursor in it now."""

    def __init__(self, text: str, edits: Sequence[Edit]) -> None:
        self.text = text
        self.cursor = 0
        self._edits = list(edits)
        self._to_delete = 0
        self._rest = ""
        # Blanks before the cursor that the editor put there and the edit does not want.
        self._num_excess = 0
        self._unit = _unit_of(text)

    @property
    def upcoming(self) -> str:
        """What is still to be typed at the cursor before the next move or deletion."""
        return "" if self._num_excess or self._to_delete else self._rest

    def next_key(self) -> Key | None:
        """The next key; None when all edits are made. `press` makes it happen."""
        while not (self._to_delete or self._rest or self._num_excess):
            if not self._edits:
                return None
            edit = self._edits.pop(0)
            self._rest, self._to_delete = edit.inserted, edit.num_deleted
            self.cursor = edit.offset + edit.num_deleted
        if self._to_delete:
            doomed = self.text[self.cursor - self._to_delete : self.cursor]
            is_short = len(doomed) <= MAX_BACKSPACES and "\n" not in doomed
            return Key(1 if is_short else len(doomed), "")
        if self._rest.startswith("\n"):
            return Key(self._num_excess, "\n" + self._automatic_indentation())
        if self._num_excess:
            return Key(self._num_excess, "")
        return Key(0, self._missing_indentation() or self._rest[0])

    def press(self, key: Key) -> None:
        """Apply `key`, which must be the one that `next_key` has just named."""
        self._replace(key.num_deleted, key.inserted)
        if self._to_delete:
            self._to_delete -= key.num_deleted
        elif key.inserted:
            num_wanted = common_prefix(key.inserted, self._rest)
            self._rest = self._rest[num_wanted:]
            self._num_excess = len(key.inserted) - num_wanted
        else:
            self._num_excess = 0

    def take(self, offered: str, min_chars: int) -> int:
        """Accept the offer that would make the document `offered`, if it is right.

        Right is an offer that adds the next characters of the edit and changes nothing else.
        Returns how many; 0 when it is wrong or adds fewer than `min_chars`.
        """
        num_added = len(offered) - len(self.text)
        if not max(1, min_chars) <= num_added <= len(self.upcoming):
            return 0
        added = self.upcoming[:num_added]
        if offered != self.text[: self.cursor] + added + self.text[self.cursor :]:
            return 0
        self._replace(0, added)
        self._rest = self._rest[num_added:]
        return num_added

    def _replace(self, num_deleted: int, inserted: str) -> None:
        start = self.cursor - num_deleted
        self.text = self.text[:start] + inserted + self.text[self.cursor :]
        self.cursor = start + len(inserted)

    def _automatic_indentation(self) -> str:
        """What an editor puts on a new line: the last line's indentation, one more if it opens."""
        before = self.text[: self.cursor].rstrip()
        line = before[before.rfind("\n") + 1 :]
        matched = _INDENTATION.match(line)
        indentation = matched.group() if matched else ""
        return indentation + self._unit if line.endswith(_OPENERS) else indentation

    def _missing_indentation(self) -> str:
        """Blanks that one key brings (or a few, seen as one) at the start of a line."""
        line_start = self.text.rfind("\n", 0, self.cursor) + 1
        if self.text[line_start : self.cursor].strip():
            return ""
        matched = _INDENTATION.match(self._rest)
        return matched.group() if matched else ""


def _unit_of(text: str) -> str:
    """One level of indentation as `text` has it."""
    found = re.search(r"^(\t|  +)\S", text, re.MULTILINE)
    return found.group(1) if found else _DEFAULT_UNIT


def common_prefix(a: str, b: str) -> int:
    """How many characters `a` and `b` have in common at their start."""
    # Bisected, because prompts are long and slices are compared at the speed of memory.
    low, high = 0, min(len(a), len(b))
    while low < high:
        middle = (low + high + 1) // 2
        if a[low:middle] == b[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low
