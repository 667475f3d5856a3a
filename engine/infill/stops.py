"""Stop rules: pure functions from generated text to the index where it should be cut, or None.

They are the safety net for models that do not stop by themselves where the suffix takes over. The
Stopper applies them while decoding, so that no forward is spent behind the cut.
"""

from __future__ import annotations

from collections.abc import Sequence

from engine.infill.brackets import (
    CLOSING,
    bracket_depth,
    first_quote,
    is_in_long_string,
    open_quote,
    surplus_closers,
)
from engine.infill.hole import BLOCK_OPENERS, Hole, indentation, is_unfinished

# A line that begins so, deeper than the statement it follows, continues that statement.
_CONTINUATIONS = (".", "?", "&&", "||", "+", "-", "*", "/", ":", "|", "<<", "and ", "or ", ")", "]")
# Letters and digits that repeated text must hold before the repetition counts as evidence: lines
# like "}" or "else:" come again in honest code.
_MIN_EVIDENCE_CHARS = 6
_MIN_EVIDENCE_TOKENS = 12
# Beyond these lengths the caller may have cut the document, and its brackets need not balance.
_WHOLE_PREFIX_CHARS, _WHOLE_SUFFIX_CHARS = 12_000, 3_000
_LEAVING = ("return", "raise", "break", "continue", "throw", "pass")


def stop_string(text: str, stops: Sequence[str]) -> int | None:
    """Before the first of the request's own stop strings."""
    found = [at for stop in stops if (at := text.find(stop)) >= 0]
    return min(found, default=None)


def line_end(text: str, hole: Hole) -> int | None:
    """At the end of the first line, when the hole lies inside a line.

    When only indentation stands left of the cursor a whole line is being inserted above the text
    on the right, so its line end belongs to it; so does the block it opens, unless the text on the
    right already is that block.
    """
    if not hole.is_inside_line:
        return None
    at = text.find("\n")
    if at < 0:
        return None
    if hole.starts_line:
        # Blank lines first are part of the inserted lines.
        start = len(text) - len(text.lstrip("\n"))
        at = text.find("\n", start)
        return None if at < 0 else _inserted_end(text, start, at, hole)
    return at


def _inserted_end(text: str, start: int, at: int, hole: Hole) -> int | None:
    """Behind the inserted line text[start:at], or behind the block that it opens."""
    first = hole.line_before * (start == 0) + text[start:at]
    below = hole.line_before + hole.line_after
    if not is_unfinished(first) or indentation(below) > indentation(first):
        return at + 1
    while at >= 0:
        begin = at + 1
        at = text.find("\n", begin)
        line = text[begin:] if at < 0 else text[begin:at]
        if line.strip() and indentation(line) <= indentation(first):
            if line.lstrip()[0] not in CLOSING:
                return begin
            return None if at < 0 else at + 1
    return None


def statement_end(text: str, hole: Hole) -> int | None:
    """At the end of the statement that the cursor stands in, when code follows below it.

    Known once the next line has begun. A statement that opens a block leaves the rest to `dedent`.
    """
    if hole.is_inside_line or hole.starts_line or not hole.has_suffix or text.startswith("\n"):
        return None
    is_string = is_in_long_string(hole.prefix)
    depth, begin, base = bracket_depth(hole.line_before), 0, indentation(hole.line_before)
    at = text.find("\n")
    while at >= 0:
        # Every line is looked at once.
        depth += bracket_depth(text[begin:at])
        head = (hole.line_before + text[begin:at]) if begin == 0 else text[begin:at]
        begin = at + 1
        if is_in_long_string(text[:at]) == is_string and not is_string and depth <= 0:
            if head.rstrip().endswith(BLOCK_OPENERS):
                return None
            following = text[begin:].lstrip("\n")
            if not following.strip():
                return None
            is_continued = following.lstrip().startswith(_CONTINUATIONS)
            if not is_unfinished(head) and not (is_continued and indentation(following) > base):
                return at
        at = text.find("\n", begin)
    return None


def dedent(text: str, hole: Hole) -> int | None:
    """Before the first line that is indented less than the hole, for holes of several lines.

    With nothing below the hole a line of closing brackets still belongs to it and ends it.
    """
    if hole.is_inside_line or is_in_long_string(hole.prefix):
        return None
    base: int | None = None
    start = -len(hole.line_before)
    for line in (hole.line_before + text).split("\n"):
        if line.strip() and not line.startswith("#"):
            if base is None:
                base = _block_indentation(line, hole)
            elif indentation(line) < base:
                if not hole.has_suffix and line.strip()[0] in CLOSING:
                    end = text.find("\n", start)
                    return None if end < 0 else end
                return max(start, 0)
        start += len(line) + 1
    return None


def _block_indentation(first_line: str, hole: Hole) -> int:
    """Lines indented less do not belong to the hole. Behind a statement that leaves its block, the
    suffix says how far out the hole may reach."""
    base = indentation(first_line)
    words = hole.line_before.split()
    if words and words[0].rstrip(";") in _LEAVING:
        below = next((line for line in hole.suffix.split("\n") if line.strip()), "")
        return min(base, indentation(below))
    return base


def suffix_repeat(text: str, hole: Hole) -> int | None:
    """Before the place where `text` starts to repeat the suffix."""
    if not hole.has_suffix:
        return None
    if hole.is_inside_line:
        rest = hole.line_after.strip()
        at = text.find(rest)
        if at >= 0 and _evidence(rest) >= _MIN_EVIDENCE_CHARS and text[at:].strip() == rest:
            return at
        return None
    below = hole.suffix.lstrip("\n").rstrip()
    start = 0 if hole.starts_line else text.find("\n") + 1
    if start == 0 and not hole.starts_line:
        return None
    while start <= len(text):
        shown = (hole.line_before + text) if start == 0 else text[start:]
        run = shown.rstrip()
        # The last line may be unfinished; it must then agree as far as it goes.
        if run and below.startswith(run) and _is_repetition(run, below, shown, hole):
            return start
        next_line = text.find("\n", start)
        if next_line < 0:
            return None
        start = next_line + 1
    return None


def _is_repetition(run: str, below: str, shown: str, hole: Hole) -> bool:
    """Whether the repeated `run` holds enough whole lines of `below` to be no accident.

    One line is enough only if it stands nowhere else in the document; honest code repeats lines
    such as ``if err != nil {``.
    """
    ends_line = len(run) == len(below) or below[len(run)] == "\n"
    is_whole = ends_line and (shown != run or _evidence(run) >= 2 * _MIN_EVIDENCE_CHARS)
    lines = (run if is_whole else run.rpartition("\n")[0]).split("\n")
    lines = [line.strip() for line in lines if line.strip()]
    document = hole.prefix + hole.suffix
    if len(lines) == 1 and is_unfinished(lines[0]):
        # The line may open a block of its own; its next lines will tell.
        return False
    distinct = "".join(line for line in lines if document.count(line) == 1)
    evidence = "".join(lines) if len(lines) >= 4 else distinct
    return _evidence(evidence) >= _MIN_EVIDENCE_CHARS


def _evidence(text: str) -> int:
    return sum(char.isalnum() for char in text)


def repeated_suffix_tokens(tokens: Sequence[int], suffix_tokens: Sequence[int]) -> int:
    """How many tokens at the end of `tokens` are the beginning of the suffix (0 = no evidence)."""
    longest = min(len(tokens), len(suffix_tokens))
    for length in range(longest, _MIN_EVIDENCE_TOKENS - 1, -1):
        if list(tokens[-length:]) == list(suffix_tokens[:length]):
            return length
    return 0


def closed_by_suffix(text: str, hole: Hole) -> int | None:
    """Before the bracket or quote that the suffix brings itself: ``foo(|)``, ``"hello |")``."""
    right = hole.suffix.lstrip()
    quote = open_quote(hole.line_before)
    if quote:
        return first_quote(text, quote) if hole.suffix.startswith(quote) else None
    if right[:1] not in CLOSING:
        return None
    surplus = surplus_closers(text)
    if not surplus:
        return None
    # Brackets that the prefix opens and the suffix does not close are for the middle to close.
    is_whole = len(hole.prefix) <= _WHOLE_PREFIX_CHARS and len(hole.suffix) <= _WHOLE_SUFFIX_CHARS
    num_missing = bracket_depth(hole.prefix) + bracket_depth(hole.suffix) if is_whole else 0
    at = next(iter(surplus[max(num_missing, 0) :]), None)
    return at if at is not None and text[at] == right[0] else None


def suffix_overlap(text: str, hole: Hole) -> int:
    """Characters at the end of `text` that the suffix already brings, to be removed."""
    for length in range(min(len(text), len(hole.suffix)), 0, -1):
        if text.endswith(hole.suffix[:length]) and _is_surplus(text, hole, length):
            return length
    return 0


def _is_surplus(text: str, hole: Hole, length: int) -> bool:
    tail, kept = text[-length:], text[:-length]
    if not tail.strip():
        # A line end that completes an inserted line is no overlap with the text it pushes down.
        return not (hole.starts_line and hole.is_inside_line and "\n" in tail)
    if any(char in CLOSING for char in tail) and _evidence(tail) == 0:
        # `closed_by_suffix` has removed what is surplus; what is left is needed.
        return False
    if _evidence(tail) == 0 and "\n" not in tail.strip():
        return length > 1 or tail in ":;,{" or tail == hole.line_after.rstrip()
    begins_inside_word = kept[-1:].isalnum() and tail[0].isalnum()
    if not begins_inside_word:
        return length > 1
    return length >= 3 or tail == hole.line_after.rstrip()
