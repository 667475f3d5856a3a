"""The next word and the next line of an offered text, for clients that can only take all of it.

Called by the commands `nemodiff.acceptNextWord` and `nemodiff.acceptNextLine`.
"""

from __future__ import annotations

import re

# White space belongs to the word behind it, line ends and indentation included.
_WORD = re.compile(r"\s*(?:\w+|[^\w\s]+)")
# Blank lines at the start belong to the line behind them.
_LINE = re.compile(r"(?:[^\S\n]*\n)*[^\n]*\S[^\n]*")


def next_word(text: str) -> str:
    """The start of `text` up to the end of its first word or run of signs; all of it if blank."""
    match = _WORD.match(text)
    return match.group() if match else text


def next_line(text: str) -> str:
    """The start of `text` up to the end of its first line that is not blank."""
    match = _LINE.match(text)
    return match.group() if match else text
