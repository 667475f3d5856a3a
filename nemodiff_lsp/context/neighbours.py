"""Neighbours: windows of other open documents that look like the text before the cursor.

A source of `collector.py`. Likeness is Jaccard's index over sets of words, as published for
Copilot's neighbouring tabs.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

_WINDOW_LINES = 20
_STRIDE_LINES = 10
# Hardly alike says nothing; all but the same makes a model copy it.
_MIN_LIKENESS, _MAX_LIKENESS = 0.15, 0.9
_MAX_LINES_PER_DOCUMENT = 2_000
_WORD = re.compile(r"[A-Za-z_]\w+")


@dataclass(frozen=True, slots=True)
class Likeness:
    """The likest window of a document: lines from `first` on."""

    uri: str
    first: int
    text: str
    value: float


def likest_windows(near: str, documents: Iterable[tuple[str, Sequence[str]]]) -> list[Likeness]:
    """At most one window a document, the likest first. near: the lines before the cursor."""
    wanted = set(_WORD.findall("\n".join(near.split("\n")[-_WINDOW_LINES:])))
    if len(wanted) < 3:
        return []
    best = (_likest(uri, lines, wanted) for uri, lines in documents)
    found = [each for each in best if each is not None and each.value >= _MIN_LIKENESS]
    return sorted(found, key=lambda each: (-each.value, each.uri))


def _likest(uri: str, lines: Sequence[str], wanted: set[str]) -> Likeness | None:
    best: Likeness | None = None
    bags = [set(_WORD.findall(line)) for line in lines[:_MAX_LINES_PER_DOCUMENT]]
    for first in range(0, max(1, len(bags) - _WINDOW_LINES + _STRIDE_LINES), _STRIDE_LINES):
        bag: set[str] = set().union(*bags[first : first + _WINDOW_LINES])
        value = len(bag & wanted) / len(bag | wanted)
        if value <= _MAX_LIKENESS and (best is None or value > best.value):
            text = "\n".join(line.rstrip("\r\n") for line in lines[first : first + _WINDOW_LINES])
            best = Likeness(uri, first, text, value)
    return best
