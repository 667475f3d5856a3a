"""Holes: where a document is cut into prefix, middle and suffix for fill-in-the-middle training.

The kinds follow what an editor asks for and what FIM benchmarks measure: whole lines, the rest of
a line, several lines, a block behind its opening line, any span of characters (half of them
starting inside a word; FIM-SE, arXiv 2405.17103), and the empty middle, from which a model learns
that nothing is missing.
"""

from __future__ import annotations

import math
import random
import re
from dataclasses import dataclass
from typing import Literal

Kind = Literal["line", "line_tail", "lines", "block", "span", "empty"]
KINDS: tuple[Kind, ...] = ("line", "line_tail", "lines", "block", "span", "empty")
KIND_WEIGHTS = (12, 16, 24, 18, 26, 4)

_MAX_MIDDLE_CHARS = 400
_MAX_LINES = 9
# How much text around the hole is shown: cursors near a file's start and end are common, too.
_PREFIX_CHARS = (80, 1100)
_SUFFIX_CHARS = (20, 600)
# A unit is what stands between two top-level statements behind a blank line: a small file.
_UNIT_START = re.compile(r"(?:\A|\n\n+)(?=[^\s#/*}\])])")
_MAX_UNIT_CHARS = 2000
_MIN_UNIT_CHARS = 120
_UNIT_SHARE = 0.5
# A line that ends in a colon or an opening bracket.
_OPENER = re.compile(r"^[ \t]*\S[^\n]*[:{(\[](?=\n[ \t]+\S)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class HoleText:
    """prefix + middle + suffix is an excerpt of one document."""

    kind: Kind
    prefix: str
    middle: str
    suffix: str


def cut_hole(text: str, rng: random.Random) -> HoleText | None:
    """One hole in `text`; None where the dice found no place for it."""
    text = _excerpt(text, rng)
    kind = rng.choices(KINDS, KIND_WEIGHTS)[0]
    found = _CUTTERS[kind](text, rng)
    if found is None:
        return None
    start, end = found
    middle = text[start:end]
    if len(middle) > _MAX_MIDDLE_CHARS or (kind != "empty" and not middle.strip()):
        return None
    first = max(0, start - _log_uniform(_PREFIX_CHARS, rng))
    if first and len(text) > _MAX_UNIT_CHARS:
        # A window that starts inside the file starts at a line, as the engine's does.
        newline = text.find("\n", first, start)
        first = newline + 1 if newline >= 0 else first
    elif first:
        first = 0
    last = end + _log_uniform(_SUFFIX_CHARS, rng)
    suffix = text[end:last] if len(text) > _MAX_UNIT_CHARS else text[end:]
    return HoleText(kind, text[first:start], middle, suffix)


def _excerpt(text: str, rng: random.Random) -> str:
    """The whole text, or one top-level unit of it."""
    if rng.random() >= _UNIT_SHARE:
        return text
    starts = [match.end() for match in _UNIT_START.finditer(text)]
    if not starts:
        return text
    at = rng.randrange(len(starts))
    end = starts[at + 1] if at + 1 < len(starts) else len(text)
    unit = text[starts[at] : end].rstrip("\n") + "\n"
    return unit if _MIN_UNIT_CHARS <= len(unit) <= _MAX_UNIT_CHARS else text


def _line(text: str, rng: random.Random) -> tuple[int, int] | None:
    """A whole line with its line end."""
    starts = _line_starts(text)
    at = rng.randrange(len(starts) - 1) if len(starts) > 1 else 0
    return starts[at], starts[at + 1] if at + 1 < len(starts) else len(text)


def _line_tail(text: str, rng: random.Random) -> tuple[int, int] | None:
    """From inside a line to its end, or to a place before that."""
    start, stop = _line(text, rng) or (0, 0)
    stop -= text[start:stop].endswith("\n")
    indent = len(text[start:stop]) - len(text[start:stop].lstrip())
    if stop - start - indent < 2:
        return None
    cut = _maybe_in_word(text, start + indent, stop, rng)
    end = stop if rng.random() < 0.6 else rng.randint(cut + 1, stop)
    return cut, end


def _lines(text: str, rng: random.Random) -> tuple[int, int] | None:
    """Several lines, from a line's start or from inside it, to a line's end or start."""
    starts = _line_starts(text)
    if len(starts) < 4:
        return None
    at = rng.randrange(len(starts) - 2)
    last = min(at + rng.randint(2, _MAX_LINES), len(starts) - 1)
    start, end = starts[at], starts[last]
    start = _start_in_line(text, start, starts[at + 1], rng)
    if rng.random() < 0.7 and end - 1 > start:
        end -= 1
    return start, end


def _block(text: str, rng: random.Random) -> tuple[int, int] | None:
    """What stands behind a line that opens a block, and sometimes that line, to the block's end.

    Without it a model learns from the many holes within a line that a middle may end behind the
    colon or brace, whatever the suffix says of the indentation.
    """
    openers = [match.span() for match in _OPENER.finditer(text)]
    for _ in range(4):
        if not openers:
            return None
        line, line_end = rng.choice(openers)
        end = _block_end(text, line, line_end)
        if end is None or end - line > _MAX_MIDDLE_CHARS:
            continue
        start = line_end if rng.random() < 0.4 else _start_in_line(text, line, line_end + 1, rng)
        # The first line behind an opener starts at the line, too: the cursor was moved there.
        start += start == line_end and rng.random() < 0.3
        return start, end
    return None


def _block_end(text: str, line: int, line_end: int) -> int | None:
    """The end of the last line that is indented deeper than the line at `line`, or of its brace."""
    indent = _indent(text[line:line_end])
    end, at = None, line_end + 1
    while at < len(text):
        newline = text.find("\n", at)
        newline = len(text) if newline < 0 else newline
        inner = text[at:newline]
        if inner.strip():
            if _indent(inner) <= indent:
                # A closing bracket belongs to its block where an opening one stands before it.
                closes = inner.lstrip()[:1] in "}])" and text[line_end - 1] in "{[("
                return newline if closes and end is not None else end
            end = newline
        at = newline + 1
    return end


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _start_in_line(text: str, start: int, stop: int, rng: random.Random) -> int:
    """The line's start, its first letter, any place in it or the end of the line before it."""
    line = text[start:stop]
    place = rng.randrange(4)
    if place == 0:
        return start
    if place == 1:
        return max(0, start - 1)
    return start + (_indent(line) if place == 2 else rng.randrange(len(line)))


def _span(text: str, rng: random.Random) -> tuple[int, int] | None:
    """Any stretch of characters, as in HumanEval-Infilling's random spans."""
    if len(text) < 8:
        return None
    start = _maybe_in_word(text, 0, len(text) - 2, rng)
    return start, min(len(text), start + _log_uniform((2, _MAX_MIDDLE_CHARS), rng))


def _empty(text: str, rng: random.Random) -> tuple[int, int] | None:
    """A place where nothing is missing: line ends mostly, any token edge otherwise."""
    if rng.random() < 0.6:
        ends = [match.start() for match in re.finditer(r"(?<=\S)\n", text)]
    else:
        ends = [match.start() for match in re.finditer(r"\b|(?<=[)\]}])|$", text)]
    if not ends:
        return None
    at = rng.choice(ends)
    return at, at


_CUTTERS = {
    "line": _line,
    "line_tail": _line_tail,
    "lines": _lines,
    "block": _block,
    "span": _span,
    "empty": _empty,
}


def _line_starts(text: str) -> list[int]:
    return [0, *(match.end() for match in re.finditer(r"\n(?!\Z)", text))]


def _maybe_in_word(text: str, low: int, high: int, rng: random.Random) -> int:
    """A place in [low, high), half of the time between two word characters."""
    place = rng.randrange(low, high)
    if rng.random() < 0.5:
        for _ in range(20):
            if place > low and text[place - 1 : place + 1].isalnum():
                break
            place = rng.randrange(low, high)
    return place


def _log_uniform(bounds: tuple[int, int], rng: random.Random) -> int:
    low, high = bounds
    return round(low * math.exp(rng.random() * math.log(high / low)))
