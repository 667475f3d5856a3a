"""Survival: how much of a taken text is still there 15 s to 10 min later.

Started by `acceptance.py`. Looks at the document at these five times only, near where the text was
put; nothing is done at a keystroke. A text counts as kept while its edit distance to what stands
there is at most half its length.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from nemodiff_lsp.stats.recorder import SURVIVAL_TIMES_S, Recorder

LinesOf = Callable[[str], Sequence[str] | None]
"""The lines of an open document, each with its line end; None once it is closed."""

Schedule = Callable[[float, Callable[[], None]], Any]
"""Call a function after so many seconds: the event loop's call_later."""

_MAX_WATCHED = 64
_MAX_TEXT_CHARS = 1_000
_MAX_LOST_SHARE = 0.5
# Lines around the place that are searched: first near, then as far as edits usually shift it.
_REACHES = (2, 40)
_MAX_WINDOW_CHARS = 6_000


@dataclass(frozen=True, slots=True)
class _Planted:
    """A text that was taken: its first line's number, and how many lines the document had then."""

    uri: str
    text: str
    line: int
    num_lines: int


class Survival:
    """Holds taken texts in memory for ten minutes at most, and never more than 64 of them."""

    def __init__(self, recorder: Recorder, lines_of: LinesOf, schedule: Schedule) -> None:
        self._recorder = recorder
        self._lines_of = lines_of
        self._schedule = schedule
        self._watched: list[_Planted] = []

    def taken(self, uri: str, line: int, text: str) -> None:
        """`text` now stands in the document, beginning in its line number `line`."""
        lines = self._lines_of(uri)
        if not text.strip() or lines is None or not self._recorder.is_enabled:
            return
        planted = _Planted(uri, text[:_MAX_TEXT_CHARS], line, len(lines))
        self._watched.append(planted)
        del self._watched[:-_MAX_WATCHED]
        for after_s in SURVIVAL_TIMES_S:
            self._schedule(after_s, functools.partial(self._look, planted, after_s))

    def closed(self, uri: str) -> None:
        """The document was closed; what becomes of it is not known any more."""
        self._watched = [each for each in self._watched if each.uri != uri]

    def _look(self, planted: _Planted, after_s: int) -> None:
        if not any(each is planted for each in self._watched):
            return
        lines = self._lines_of(planted.uri)
        if lines is None:
            return
        num_lost = num_lost_chars(planted.text, planted.line, planted.num_lines, lines)
        num_chars = len(planted.text)
        self._recorder.survived(
            after_s,
            num_chars,
            max(0, num_chars - num_lost),
            is_kept=num_lost <= _MAX_LOST_SHARE * num_chars,
        )
        if after_s == SURVIVAL_TIMES_S[-1]:
            self._watched = [each for each in self._watched if each is not planted]


def num_lost_chars(text: str, line: int, num_lines_then: int, lines: Sequence[str]) -> int:
    """Edit distance of `text` to what is likest to it near its place, at most its length.

    Edits above its place shift it by as many lines as the document has grown, edits below do not.
    """
    places = dict.fromkeys((line, line + len(lines) - num_lines_then))
    num_lost = len(text)
    height = text.count("\n") + 1
    for reach in _REACHES:
        for place in places:
            window = "".join(lines[max(0, place - reach) : max(0, place + height + reach)])
            num_lost = min(num_lost, _distance(text, window.replace("\r\n", "\n")))
        if num_lost <= _MAX_LOST_SHARE * len(text):
            break
    return num_lost


def _distance(text: str, window: str) -> int:
    # Imported here because most sessions begin without it.
    from rapidfuzz.distance import Levenshtein
    from rapidfuzz.fuzz import partial_ratio_alignment

    window = window[:_MAX_WINDOW_CHARS]
    if text in window:
        return 0
    if len(window) > len(text):
        found = partial_ratio_alignment(text, window)
        if found is not None:
            window = window[found.dest_start : found.dest_end]
    return min(Levenshtein.distance(text, window), len(text))
