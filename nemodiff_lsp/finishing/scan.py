"""Scan: brackets, quotes and comments of a text, by one regular expression a language.

Used by the rules of finishing where no tree is needed, or none can be had because the code is being
typed. Knows nothing of what brackets mean.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import NamedTuple

from nemodiff_lsp.finishing.languages import Language
from nemodiff_lsp.finishing.place import blank_start

# The text left and right of the cursor, and what the rules try between them.
_NUM_SCANS_KEPT = 32
PAIRS = {"(": ")", "[": "]", "{": "}"}
CLOSING = frozenset(PAIRS.values())
# A line that ends so opens a block of deeper lines.
_BLOCK_OPENERS = (":", "{", "=>", "->", " then", " do")
# A line that ends so is not the end of its statement.
_UNFINISHED = (
    *(":", "{", "=>", "->", "(", "[", ",", "\\", "=", "&&", "||", "|", "+", " -", " *", " /"),
    *("?", "<<", ".", " and", " or", " not", " in", " else", " return", " await", " new"),
)


class Bracket(NamedTuple):
    """A bracket in code, and its index in the text."""

    at: int
    char: str


class Span(NamedTuple):
    """A string or a comment: text[start:end], and the quote or comment sign that opens it."""

    start: int
    end: int
    opening: str


@dataclass(frozen=True, slots=True)
class Scan:
    """brackets: those outside strings and comments, in order. spans: the strings and comments.
    open_quote: what the text ends inside of: a quote, a comment's start, or an empty string."""

    text: str
    brackets: tuple[Bracket, ...]
    spans: tuple[Span, ...]
    open_quote: str

    def unmatched(self, start: int = 0) -> tuple[list[Bracket], list[Bracket]]:
        """Of the brackets from index `start` on: opening ones that nothing closes, and closing
        ones that nothing has opened."""
        openers: list[Bracket] = []
        closers: list[Bracket] = []
        for bracket in self.brackets[bisect_left(self.brackets, (start, "")) :]:
            if bracket.char in PAIRS:
                openers.append(bracket)
            elif openers:
                openers.pop()
            else:
                closers.append(bracket)
        return openers, closers

    def depth(self, start: int, end: int) -> int:
        """Opening minus closing brackets in text[start:end]."""
        first, last = (bisect_left(self.brackets, (at, "")) for at in (start, end))
        return sum(-1 if b.char in CLOSING else 1 for b in self.brackets[first:last])

    def is_inside_span(self, at: int) -> bool:
        """Whether index `at` lies inside a string or a comment, not at its start."""
        return any(span.start < at < span.end for span in self.spans)


@lru_cache(maxsize=_NUM_SCANS_KEPT)
def scan(text: str, language: Language) -> Scan:
    """What `text` holds, taken to begin in code.

    What is typed changes the last line, so the lines above it are scanned once for many texts.
    """
    return scan_on(text[: text.rfind("\n") + 1], text, language)


def scan_with(before: str, text: str, language: Language) -> Scan:
    """What `before` and `text` hold together; `before` is scanned once for many texts."""
    return scan_on(before, before + text, language)


@lru_cache(maxsize=_NUM_SCANS_KEPT)
def scan_whole(text: str, language: Language) -> Scan:
    """As `scan`, without anything that is known of other texts."""
    return Scan(text, (), (), "") if language.is_prose else _scan(text, language, 0)


@lru_cache(maxsize=_NUM_SCANS_KEPT)
def scan_on(before: str, text: str, language: Language) -> Scan:
    """What `text`, which starts with `before`, holds, as far as it can from a scan of `before`."""
    if language.is_prose or "\n" not in before:
        return scan_whole(text, language)
    is_line_end = before.endswith("\n")
    left = scan_whole(before, language) if is_line_end else scan(before, language)
    # From the last line that begins in code on, more text may change how `before` is read.
    safe = before.rfind("\n") + 1
    for span in reversed(left.spans):
        if span.end < safe:
            break
        if span.start < safe:
            safe = before.rfind("\n", 0, span.start) + 1
    tail = _scan(text, language, safe)
    num_brackets, num_spans = (bisect_left(each, (safe,)) for each in (left.brackets, left.spans))
    return Scan(
        text,
        left.brackets[:num_brackets] + tail.brackets,
        left.spans[:num_spans] + tail.spans,
        tail.open_quote,
    )


def _scan(text: str, language: Language, start: int) -> Scan:
    brackets: list[Bracket] = []
    spans: list[Span] = []
    open_quote = ""
    for match in _pattern(language).finditer(text, start):
        found = match.group()
        if found in PAIRS or found in CLOSING:
            brackets.append(Bracket(match.start(), found))
        elif match.group("char") is None:
            opening = match.group("opening") or match.group("long") or match.group("comment")
            spans.append(Span(match.start(), match.end(), opening or "/*"))
            is_closed = bool(match.group("closing") or match.group("end") or match.group("stop"))
            if match.end() == len(text) and not is_closed:
                open_quote = opening or "/*"
    return Scan(text, tuple(brackets), tuple(spans), open_quote)


@cache
def _pattern(language: Language) -> re.Pattern[str]:
    none = "(?!)"
    comment = "|".join(re.escape(start) for start in language.line_comments) or none
    block = "/[*]" if language.has_block_comments else none
    long = "|".join(re.escape(quote) for quote in language.long_quotes) or none
    char = r"'(?:\\[^\n']{1,10}|\\'|[^\\'\n])'" if language.has_char_literals else none
    # Behind a letter an apostrophe is one, but for the short prefixes of Python's strings.
    behind = r"(?<![^\W_]{3})" if language.name == "python" else r"(?<![^\W_])"
    opening = "|".join(behind * (quote == "'") + quote for quote in language.quotes) or none
    parts = [
        rf"(?P<comment>{comment})[^\n]*",
        rf"{block}(?s:.)*?(?:(?P<stop>\*/)|\Z)",
        rf"(?P<long>{long})(?s:\\.|[^\\])*?(?:(?P<end>(?P=long))|\\?\Z)",
        rf"(?P<char>{char})",
        rf"(?P<opening>{opening})(?:\\[^\n]|(?!(?P=opening))[^\\\n])*(?P<closing>(?P=opening))?",
        r"[()\[\]{}]",
    ]
    return re.compile("|".join(parts))


def width(line: str) -> int:
    """Columns of the white space at the start of `line`; a tab counts as 4."""
    start = blank_start(line)
    return len(start) + 3 * start.count("\t")


def opens_block(line: str) -> bool:
    """Whether the lines below `line` belong to it."""
    return line.rstrip().endswith(_BLOCK_OPENERS)


def is_unfinished(line: str) -> bool:
    """Whether the statement on `line` goes on after it."""
    return line.rstrip().endswith(_UNFINISHED)


def num_missing_closers(left: Scan, right: Scan, *, is_right_whole: bool) -> int:
    """How many of the brackets open at the end of `left` the text right of it does not close.

    The innermost ones are counted, up to the first that the next closing bracket fits; any may be
    missing, because code that is being typed is open further out as well.
    """
    openers, closers = left.unmatched()[0][::-1], right.unmatched()[1]
    if not closers and is_right_whole:
        return len(openers)
    if closers:
        for num_missing, opener in enumerate(openers):
            if _fits(left, opener, right, closers[0]):
                return num_missing
    # Beyond the window there may be closing braces, hardly closing parentheses.
    for num_missing, opener in enumerate(openers):
        if opener.char == "{" and not _is_abandoned(left, opener, right):
            return num_missing
    return len(openers)


def is_balanced(left: Scan, right: Scan, *, is_left_whole: bool, is_right_whole: bool) -> bool:
    """Whether the brackets open at the end of `left` are just those that `right` closes."""
    openers, closers = left.unmatched()[0], right.unmatched()[1]
    if is_right_whole and len(openers) > len(closers):
        return False
    if is_left_whole and len(closers) > len(openers):
        return False
    pairs = zip(openers[::-1], closers, strict=False)
    return all(_fits(left, opener, right, closer) for opener, closer in pairs)


def _fits(left: Scan, opener: Bracket, right: Scan, closer: Bracket) -> bool:
    """Whether the two are of a kind and, where `closer` leads its line, indented alike."""
    if PAIRS[opener.char] != closer.char:
        return False
    start = right.text.rfind("\n", 0, closer.at) + 1
    lead = right.text[start : closer.at]
    # The first line is the rest of the cursor's line, whose indentation is not seen here.
    if start == 0 or lead.strip():
        return True
    return _line_width(left.text, opener.at) == width(lead)


def _is_abandoned(left: Scan, opener: Bracket, right: Scan) -> bool:
    """Whether the first line below is neither a deeper one nor a closing bracket."""
    below = next((line for line in right.text.split("\n")[1:] if line.strip()), "")
    is_deeper = width(below) > _line_width(left.text, opener.at)
    return bool(below) and not is_deeper and below.lstrip()[0] not in CLOSING


def _line_width(text: str, at: int) -> int:
    return width(text[text.rfind("\n", 0, at) + 1 : at])
