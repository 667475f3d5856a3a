"""Measures: what is counted of a text, kept up from edit to edit by the lines that change.

Made by `documents.py`, read by `privacy/content.py`, which need not walk through a long document at
each keystroke then.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

LONG_LINE_CHARS = 500


class Measures(NamedTuple):
    """num_chars: line ends included. num_line_feeds / num_returns / num_nuls: of these signs.

    long_lines: lengths (characters, without line end) of the lines of more than
    LONG_LINE_CHARS, in no order.
    """

    num_chars: int
    num_line_feeds: int
    num_returns: int
    num_nuls: int
    long_lines: tuple[int, ...]

    def after(self, old: Sequence[str], new: Sequence[str]) -> Measures:
        """The measures once the lines `old` have become `new`."""
        gone, come = measure(old), measure(new)
        long_lines = self.long_lines
        if gone.long_lines or come.long_lines:
            lengths = [*long_lines, *come.long_lines]
            for length in gone.long_lines:
                lengths.remove(length)
            long_lines = tuple(lengths)
        return Measures(
            self.num_chars - gone.num_chars + come.num_chars,
            self.num_line_feeds - gone.num_line_feeds + come.num_line_feeds,
            self.num_returns - gone.num_returns + come.num_returns,
            self.num_nuls - gone.num_nuls + come.num_nuls,
            long_lines,
        )


def measure(lines: Sequence[str]) -> Measures:
    """The measures of the text that `lines`, with their line ends, make up."""
    text = "".join(lines)
    return Measures(
        len(text),
        text.count("\n"),
        text.count("\r"),
        text.count("\0"),
        _long(lines),
    )


def _long(lines: Sequence[str]) -> tuple[int, ...]:
    lengths = [len(line.rstrip("\r\n")) for line in lines if len(line) > LONG_LINE_CHARS]
    return tuple(length for length in lengths if length > LONG_LINE_CHARS)
