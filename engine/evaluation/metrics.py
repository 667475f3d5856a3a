"""What can be told from a completion's text alone: does it match, how nearly, does it stop in time.

Pure functions over strings, called by `figures.py`. Blanks at the end never decide about a length:
editors cut them off.
"""

from __future__ import annotations

import importlib.util

MIN_OVERLAP_CHARS = 8
"""So many characters other than white space, shared with the suffix's head, are no coincidence."""


def is_exact(text: str, gold: str) -> bool:
    return text == gold


def is_exact_trimmed(text: str, gold: str) -> bool:
    """Equal when final newlines are left out on both sides."""
    return text.rstrip("\n") == gold.rstrip("\n")


def is_silent(text: str) -> bool:
    """Nothing is offered: the text is empty, or blank, which an editor does not show either."""
    return not text.strip()


def is_overrun(text: str, gold: str) -> bool | None:
    """Went on behind the right text: gold is a proper prefix of it, both without blanks at the end.

    None without a gold text.
    """
    text, gold = text.rstrip(), gold.rstrip()
    if not gold:
        return None
    return text != gold and text.startswith(gold)


def is_underrun(text: str, gold: str) -> bool | None:
    """Stopped inside the right text: it is a proper prefix of gold, both without blanks at the end.

    A blank text is silence (`is_silent`) and no under-run. None without a gold text.
    """
    text, gold = text.rstrip(), gold.rstrip()
    if not gold:
        return None
    return bool(text) and text != gold and gold.startswith(text)


def can_measure_similarity() -> bool:
    """Whether rapidfuzz (extra ``eval``) is installed."""
    return importlib.util.find_spec("rapidfuzz") is not None


def edit_similarity(text: str, gold: str) -> float:
    """1 - Levenshtein distance / length of the longer text, in code points; 1.0 for equal texts.

    Blanks at the end are left out on both sides. Raises ImportError without rapidfuzz.
    """
    from rapidfuzz.distance import Levenshtein

    return float(Levenshtein.normalized_similarity(text.rstrip(), gold.rstrip()))


def repeats_suffix(prompt: str, text: str, suffix: str, gold: str) -> bool:
    """Whether the end of `text` says again what the suffix begins with, and gold's end does not.

    Either (a) the last line that `text` writes on and that is not blank, seen whole in the
    document, equals the first line of the suffix that is not blank, indentation included and
    blanks at the end left out (only where that line of the suffix is a whole line); or (b) the
    longest end of `text` that is also a beginning of the suffix, white space left out of both, has
    at least MIN_OVERLAP_CHARS characters and more than gold's; or (c) a suffix of that length
    stands in `text` as a whole, white space left out, and not in gold: it went on even behind it.
    """
    line = _first_line(prompt, suffix, gold)
    if line is not None and _last_line(prompt, text) == line != _last_line(prompt, gold):
        return True
    overlap = overlap_chars(text, suffix)
    if overlap >= MIN_OVERLAP_CHARS and overlap > overlap_chars(gold, suffix):
        return True
    whole = _squeezed(suffix)
    is_inside = len(whole) >= MIN_OVERLAP_CHARS and whole in _squeezed(text)
    return is_inside and whole not in _squeezed(gold)


def overlap_chars(text: str, suffix: str) -> int:
    """Length of the longest end of `text` that the suffix begins with, white space left out."""
    tail, head = _squeezed(text), _squeezed(suffix)
    for length in range(min(len(tail), len(head)), 0, -1):
        if tail.endswith(head[:length]):
            return length
    return 0


def _first_line(prompt: str, suffix: str, gold: str) -> str | None:
    """The first line of the suffix that is not blank; None when there is none, or it is only the
    rest of the line that the hole ends in."""
    before = (prompt + gold)[-1:]
    if suffix.partition("\n")[0].strip() and before not in ("", "\n"):
        return None
    return next((line.rstrip() for line in suffix.split("\n") if line.strip()), None)


def _last_line(prompt: str, text: str) -> str | None:
    """The last line that `text` writes on and that is not blank, as it stands in the document."""
    if is_silent(text):
        return None
    written = (prompt.rpartition("\n")[2] + text).rstrip()
    return written.rpartition("\n")[2]


def _squeezed(text: str) -> str:
    """`text` without white space."""
    return "".join(text.split())
