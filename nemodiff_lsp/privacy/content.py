"""What a document's text says against it: too long, binary, generated, a private key in it.

Used by `policy.py` for every request: of a text that is edited, only what the edit can have changed
is looked at again, and no text takes more than a pass of memchr.
"""

from __future__ import annotations

import re
from typing import Protocol

from nemodiff_lsp.documents.measures import LONG_LINE_CHARS, Measures

_HEAD_CHARS = 8_192
_SCANNED_CHARS = 100_000
# Shorter texts say nothing about how their lines are usually made.
_MIN_JUDGED_CHARS = 1_000
_MAX_AVERAGE_LINE_CHARS = 500
# One paragraph is one line of these.
_PROSE = frozenset(
    "asciidoc git-commit gitcommit html latex markdown mdx org plaintext quarto restructuredtext "
    "rmd rst tex text typst".split()
)
_KEY_MARK = "PRIVATE KEY"
_PUTTY_MARK = "PuTTY-User-Key-File-"
_AGE_MARK = "AGE-SECRET-KEY-1"
# The marker alone at the top of a file is enough; further down only with what looks like a key
# behind it, because programs that read keys hold the marker, too.
_KEY_AT_TOP = re.compile(r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----")
_KEY_WITH_BODY = re.compile(_KEY_AT_TOP.pattern + r"[\s\"'+\\nr]{0,40}[A-Za-z0-9+/=:,\- ]{24}")


# How far the patterns look from a marker.
_BEFORE_MARK_CHARS, _BEHIND_MARK_CHARS = 60, 200

_BINARY = "The file is binary."
_KEY = "The file holds a private key."
_GENERATED = "The file's lines are as long as those of generated files."


class EditedText(Protocol):
    """A text that knows what is counted of it, such as a `Document`."""

    @property
    def measures(self) -> Measures | None:
        """None where nothing has been counted yet."""

    @property
    def source(self) -> str:
        """The whole text."""

    def start(self, num_chars: int) -> str:
        """The first lines: at least `num_chars` characters, or the whole text."""


def objection_to(
    text: str, language_id: str | None, *, max_chars: int, max_line_chars: int
) -> str | None:
    """Why `text` is left out, as one sentence, or None when nothing speaks against it.

    Private keys are looked for in the first 100,000 characters.
    """
    if len(text) > max_chars:
        return _too_long(max_chars)
    if "\0" in text:
        return _BINARY
    if _holds_private_key(text):
        return _KEY
    if _has_line_over(text, max_line_chars):
        return _too_long_a_line(max_line_chars)
    if language_id not in _PROSE and len(text) > _MIN_JUDGED_CHARS and _has_long_lines(text):
        return _GENERATED
    return None


def objection_to_edited(
    text: EditedText, language_id: str | None, *, max_chars: int, max_line_chars: int
) -> str | None:
    """As `objection_to` says of the whole text, from what has been counted of it."""
    measures = text.measures
    if measures is None or max_line_chars < LONG_LINE_CHARS:
        return objection_to(
            text.source, language_id, max_chars=max_chars, max_line_chars=max_line_chars
        )
    if measures.num_chars > max_chars:
        return _too_long(max_chars)
    if measures.num_nuls > 0:
        return _BINARY
    if _holds_private_key(text.start(_SCANNED_CHARS + _BEHIND_MARK_CHARS)):
        return _KEY
    if any(length > max_line_chars for length in measures.long_lines):
        return _too_long_a_line(max_line_chars)
    if language_id in _PROSE or measures.num_chars <= _MIN_JUDGED_CHARS:
        return None
    num_lines = 1 + (measures.num_line_feeds or measures.num_returns)
    return _GENERATED if num_lines < _num_lines_needed(measures.num_chars) else None


def _too_long(max_chars: int) -> str:
    return f"The file is longer than {max_chars:,} characters (setting maxFileChars)."


def _too_long_a_line(max_line_chars: int) -> str:
    return (
        f"The file has a line of more than {max_line_chars:,} characters, as generated files do "
        f"(setting maxLineChars)."
    )


def _num_lines_needed(num_chars: int) -> int:
    return -(-num_chars // _MAX_AVERAGE_LINE_CHARS)


def _holds_private_key(text: str) -> bool:
    head = text[:_HEAD_CHARS]
    if head.lstrip("\ufeff").startswith(_PUTTY_MARK) or _AGE_MARK in head:
        return True
    found = text.find(_KEY_MARK, 0, _SCANNED_CHARS)
    while found >= 0:
        pattern = _KEY_AT_TOP if found < _HEAD_CHARS else _KEY_WITH_BODY
        low, high = max(0, found - _BEFORE_MARK_CHARS), found + _BEHIND_MARK_CHARS
        if pattern.search(text, low, high):
            return True
        found = text.find(_KEY_MARK, found + 1, _SCANNED_CHARS)
    return False


def _has_line_over(text: str, max_line_chars: int) -> bool:
    """Whether any line is longer than that, without a look at each line.

    A longer line covers a whole stretch of half that length, counted from the start of the text.
    """
    stretch = max(1, max_line_chars // 2)
    for start in range(0, len(text), stretch):
        end = min(start + stretch, len(text))
        if _finds_line_end(text, start, end):
            continue
        # No further back than matters: without a line end there, the line is too long already.
        low = max(0, start - max_line_chars - 1)
        before = max(text.rfind("\n", low, start), text.rfind("\r", low, start))
        first = before + 1 if before >= 0 else low
        if not _finds_line_end(text, end, first + max_line_chars + 1) and (
            len(text) - first > max_line_chars
        ):
            return True
    return False


def _has_long_lines(text: str) -> bool:
    """Whether the average line is too long. Ends when enough lines have been seen, not at the end.

    Where ``\\r\\n`` ends the lines each still counts once; lone ``\\r`` counts where it is alone.
    """
    line_end = "\n" if "\n" in text else "\r"
    num_needed = _num_lines_needed(len(text))
    num_lines, found = 1, text.find(line_end)
    while num_lines < num_needed and found >= 0:
        num_lines, found = num_lines + 1, text.find(line_end, found + 1)
    return num_lines < num_needed


def _finds_line_end(text: str, start: int, end: int) -> bool:
    return text.find("\n", start, end) >= 0 or text.find("\r", start, end) >= 0
