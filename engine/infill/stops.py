"""Stop rules: pure functions from generated text to the index where it should be cut, or None.

They are the safety net for models that do not stop by themselves where the suffix takes over. The
Stopper applies them while decoding, so that no forward is spent behind the cut.
"""

from __future__ import annotations

from collections.abc import Sequence

from engine.infill.hole import Hole, indentation

_CLOSING = {")": "(", "]": "[", "}": "{"}
# Letters and digits that a repeated line must hold before the repetition counts as evidence:
# lines like "}" or "else:" come again in honest code.
_MIN_EVIDENCE_CHARS = 6
_MIN_EVIDENCE_TOKENS = 6


def stop_string(text: str, stops: Sequence[str]) -> int | None:
    """Before the first of the request's own stop strings."""
    found = [at for stop in stops if (at := text.find(stop)) >= 0]
    return min(found, default=None)


def line_end(text: str, hole: Hole) -> int | None:
    """At the end of the first line, when the hole lies inside a line.

    When only indentation stands left of the cursor a whole line is being inserted above the text
    on the right, so its line end belongs to it.
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
        return None if at < 0 else at + 1
    return at


def statement_end(text: str, hole: Hole) -> int | None:
    """At the first line end with all brackets closed, when the cursor stands behind the beginning
    of a statement that opens no block and something follows below."""
    if hole.is_inside_line or hole.starts_line or not hole.has_suffix:
        return None
    at = text.find("\n")
    while at >= 0:
        statement = hole.line_before + text[:at]
        continues = Hole(statement, "").opens_block
        if bracket_depth(statement) <= 0 and not continues:
            return at
        if continues and statement.rstrip().endswith((":", "{", "=>", "->")):
            # The statement turned out to open a block: from here on the dedent rule decides.
            return None
        at = text.find("\n", at + 1)
    return None


def dedent(text: str, hole: Hole) -> int | None:
    """Before the first line that is indented less than the hole, for holes of several lines.

    With nothing below the hole a line of closing brackets still belongs to it and ends it.
    """
    if hole.is_inside_line:
        return None
    lines = (hole.line_before + text).split("\n")
    base: int | None = None
    start = -len(hole.line_before)
    for line in lines:
        if line.strip():
            if base is None:
                base = indentation(line)
            elif indentation(line) < base:
                if not hole.has_suffix and line.strip()[0] in _CLOSING:
                    end = text.find("\n", start)
                    return None if end < 0 else end
                return max(start, 0)
        start += len(line) + 1
    return None


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
        if run and below.startswith(run) and _whole_lines_evidence(run, below, shown):
            return start
        next_line = text.find("\n", start)
        if next_line < 0:
            return None
        start = next_line + 1
    return None


def _whole_lines_evidence(run: str, below: str, shown: str) -> bool:
    """Whether the repeated `run` holds enough whole lines of `below` to be no accident."""
    num_lines = run.count("\n")
    ends_line = len(run) == len(below) or below[len(run)] == "\n"
    whole = (
        run
        if ends_line and (shown != run or _evidence(run) >= 2 * _MIN_EVIDENCE_CHARS)
        else (run.rpartition("\n")[0])
    )
    return _evidence(whole) >= _MIN_EVIDENCE_CHARS or (num_lines >= 2 and _evidence(whole) > 0)


def _evidence(text: str) -> int:
    return sum(char.isalnum() for char in text)


def repeated_suffix_tokens(tokens: Sequence[int], suffix_tokens: Sequence[int]) -> int:
    """How many tokens at the end of `tokens` are the beginning of the suffix (0 = no evidence)."""
    longest = min(len(tokens), len(suffix_tokens))
    for length in range(longest, _MIN_EVIDENCE_TOKENS - 1, -1):
        if list(tokens[-length:]) == list(suffix_tokens[:length]):
            return length
    return 0


def bracket_depth(text: str) -> int:
    """Opening minus closing brackets; brackets inside quotes on the same line are not counted."""
    depth, quote = 0, ""
    for char in text:
        if quote:
            if char in (quote, "\n"):
                quote = ""
        elif char in "\"'`":
            quote = char
        elif char in _CLOSING.values():
            depth += 1
        elif char in _CLOSING:
            depth -= 1
    return depth


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
    if _evidence(tail) == 0 and "\n" not in tail.strip():
        after = hole.line_after
        without = bracket_depth(hole.line_before + kept + after)
        within = bracket_depth(hole.line_before + text + after)
        has_brackets = any(char in _CLOSING for char in tail)
        return abs(without) < abs(within) if has_brackets else length > 1
    begins_inside_word = kept[-1:].isalnum() and tail[0].isalnum()
    if not begins_inside_word:
        return length > 1
    return length >= 3 or tail == hole.line_after.rstrip()
