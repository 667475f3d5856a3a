"""Hole: one place in a document that waits to be written. Plain data, made by `find.py`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

Kind = Literal["body", "value", "tab_stop", "cursor"]

MAX_HOLES = 63
"""More are not filled at once: the engine takes 64 pieces of text around them."""


@dataclass(frozen=True, slots=True)
class Hole:
    """Offsets are characters of the document, ``start`` to ``end`` is what the text replaces.

    kind: ``body`` takes statements, ``value`` an expression. lead: text that is put in front of the
    new text, in the document and in what the model sees (a comment that says what is wanted, a line
    break). default: what a reader of the unfilled document would put there. Holes of one group get
    the same text, whichever it is for the first of them.
    """

    start: int
    end: int
    kind: Kind
    lead: str = ""
    default: str = ""
    group: str | None = None

    def shifted(self, by: int) -> Hole:
        """The same hole in a text that has `by` characters more in front."""
        return replace(self, start=self.start + by, end=self.end + by)


def without_overlaps(holes: Iterable[Hole]) -> list[Hole]:
    """In the order of the text; of two that overlap, the one that begins first, then the longer."""
    kept: list[Hole] = []
    for hole in sorted(holes, key=lambda each: (each.start, -each.end)):
        if not kept or hole.start > kept[-1].end or hole.start == kept[-1].end < hole.end:
            kept.append(hole)
    return kept
