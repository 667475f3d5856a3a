"""Counts: trees of whole numbers, the only thing the statistics keep, and the words they may use.

Used by `recorder.py`, `store.py` and `report.py`. Whatever names a count comes from a closed set or
is cut down to a plain word here, so that no text of the user's can become a key.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

Counts = dict[str, Any]
"""Names to whole numbers, or to Counts."""

MAX_KEYS = 256
"""Further names of one level are counted under OTHER."""

OTHER = "other"
_MAX_KEY_CHARS = 160
_MAX_DEPTH = 6
_MAX_NUMBER = 2**53

_WORD = re.compile(r"[a-z][a-z0-9_+#.-]{0,31}")
# A sentence without anything that could quote: no name in quotes, no path, no code.
_SENTENCE = re.compile(r"[A-Z][A-Za-z0-9 ,;:.()'%-]{0,158}")

# Buckets of a tenth of an octave are at most 7 % wide; the smallest holds a microsecond.
_BUCKETS_PER_OCTAVE = 10
_SMALLEST_MS = 0.001


def add(counts: Counts, number: int, *names: str) -> None:
    """Add `number` to the count at `names`, one for each level."""
    *levels, last = names
    for name in levels:
        counts = counts.setdefault(_room_for(counts, name), {})
    last = _room_for(counts, last)
    counts[last] = min(counts.get(last, 0) + number, _MAX_NUMBER)


def merge(into: Counts, more: Mapping[str, Any]) -> None:
    """Add all of `more` to `into`. Where one has a number and the other a level, `into` stays."""
    for name, value in more.items():
        name = _room_for(into, name)
        if isinstance(value, Mapping):
            level = into.setdefault(name, {})
            if isinstance(level, dict):
                merge(level, value)
        elif isinstance(before := into.get(name, 0), int):
            into[name] = min(before + value, _MAX_NUMBER)


def checked(value: object, *, depth: int = _MAX_DEPTH) -> Counts:
    """`value` if it is Counts. Raises ValueError for anything else a file may hold."""
    if not isinstance(value, dict) or depth == 0:
        raise ValueError("no counts")
    for name, each in value.items():
        if len(name) > _MAX_KEY_CHARS:
            raise ValueError("no name of a count")
        if isinstance(each, dict):
            checked(each, depth=depth - 1)
        elif isinstance(each, bool) or not isinstance(each, int) or not 0 <= each <= _MAX_NUMBER:
            raise ValueError("no count")
    return value


def number_of(counts: Mapping[str, Any], *names: str) -> int:
    """The count at `names`, 0 where there is none; of a level the sum of its numbers."""
    value: Any = counts
    for name in names:
        value = value.get(name, 0) if isinstance(value, Mapping) else 0
    if isinstance(value, Mapping):
        return sum(each for each in value.values() if isinstance(each, int))
    return int(value)


def word(text: str | None) -> str:
    """A language id or a stage's name, or OTHER when it is not a plain word."""
    folded = (text or "none").casefold()
    return folded if _WORD.fullmatch(folded) else OTHER


def sentence(text: str) -> str:
    """A reason, or OTHER when it could quote something."""
    return text if _SENTENCE.fullmatch(text) else OTHER


def bucket_of(duration_ms: float) -> str:
    """The name of the histogram bucket for a duration; finite and not negative, else the first."""
    if not duration_ms > _SMALLEST_MS or not math.isfinite(duration_ms):
        return "0"
    return str(math.floor(math.log2(duration_ms / _SMALLEST_MS) * _BUCKETS_PER_OCTAVE) + 1)


def quantile_ms(histogram: Mapping[str, Any], share: float) -> float | None:
    """The duration that `share` of the histogram does not exceed, to 4 %; None when it is empty."""
    buckets = sorted((int(name), number) for name, number in histogram.items() if name.isdecimal())
    wanted = share * sum(number for _, number in buckets)
    seen = 0
    for bucket, number in buckets:
        seen += number
        if seen >= wanted and number:
            return _middle_ms(bucket)
    return None


def _middle_ms(bucket: int) -> float:
    return float(_SMALLEST_MS * 2 ** ((bucket - 0.5) / _BUCKETS_PER_OCTAVE)) if bucket else 0.0


def _room_for(counts: Mapping[str, Any], name: str) -> str:
    return name if name in counts or len(counts) < MAX_KEYS else OTHER
