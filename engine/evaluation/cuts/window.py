"""How much of a file goes into a row: the prompt left of the hole and the suffix right of it.

Used by `build`. Both are whole lines of the file, and whole top-level definitions where that costs
at most half of the text, so that most excerpts parse by themselves.
"""

from __future__ import annotations

from engine.evaluation.cuts.source import Source

MAX_PROMPT_BYTES = 6000
MAX_SUFFIX_BYTES = 2000


def prompt_start(source: Source, cursor: int) -> int:
    """Where the excerpt begins: at a line, at most MAX_PROMPT_BYTES before the cursor.

    Later than that only inside a longer line, which then begins the excerpt all the same.
    """
    limit = cursor - MAX_PROMPT_BYTES
    if limit <= 0:
        return 0
    earliest = source.line_end(limit - 1) + 1
    if earliest > cursor:
        return source.line_start(cursor)
    inside = source.token_around(earliest)
    while inside is not None and inside.end < cursor:
        # Not in the middle of a docstring or a block comment: all after it would read inverted.
        earliest = source.line_end(inside.end) + 1
        inside = source.token_around(earliest)
    earliest = min(earliest, source.line_start(cursor))
    for start, _ in source.top_level:
        if start >= earliest and source.line_start(start) == start:
            return start if 2 * (cursor - start) >= cursor - earliest else earliest
    return earliest


def suffix_end(source: Source, hole_end: int) -> int:
    """Where the excerpt ends: behind a newline, at most MAX_SUFFIX_BYTES after the hole."""
    limit = hole_end + MAX_SUFFIX_BYTES
    if limit >= len(source.data):
        return len(source.data)
    latest = max(source.line_start(limit), min(source.line_end(hole_end) + 1, len(source.data)))
    ends = [_behind_newline(source, end) for _, end in source.top_level if hole_end < end < latest]
    aligned = max((end for end in ends if end <= latest), default=hole_end)
    return aligned if 2 * (aligned - hole_end) >= latest - hole_end else latest


def _behind_newline(source: Source, offset: int) -> int:
    """`offset` itself at a line's start, else the start of the next line."""
    if source.line_start(offset) == offset:
        return offset
    return min(source.line_end(offset) + 1, len(source.data))
