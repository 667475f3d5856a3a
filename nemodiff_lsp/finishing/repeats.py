"""Repeats: text that says again what stands above the cursor, or what it has just said itself.

Small models fall into loops; what a loop writes is worth nothing, however long it is.
"""

from __future__ import annotations

import re

from nemodiff_lsp.finishing.overlap import MIN_EVIDENCE_CHARS, evidence
from nemodiff_lsp.finishing.site import Site

# The same line so many times in a row is a loop, and so is a stretch of a line.
_MIN_EQUAL_LINES = 3
_STRETCH_LOOP = re.compile(r"(.{3,60}?)\1{4,}", re.DOTALL)


def drop_typed_again(text: str, site: Site) -> str:
    """`text` without the start of the line, where the model has written that once more."""
    typed = site.place.line_before.strip()
    head = text.lstrip(" \t")
    is_clear = " " in typed and evidence(typed) >= MIN_EVIDENCE_CHARS
    if not is_clear or site.language.is_prose or not head.startswith(typed):
        return text
    rest = head[len(typed) :]
    # White space at the end of what has been typed stands in the document already.
    return rest.lstrip(" ") if site.place.line_before[-1:].isspace() else rest


def cut_loops(text: str, site: Site) -> str:
    """`text` up to the second round of a loop; empty if nothing but the loop is left."""
    lines = text.split("\n")
    stripped = [line.strip() for line in lines]
    for at in range(len(lines) - _MIN_EQUAL_LINES + 1):
        same = stripped[at : at + _MIN_EQUAL_LINES]
        if evidence(same[0]) >= MIN_EVIDENCE_CHARS and len(set(same)) == 1:
            # A loop that starts at once has nothing to say.
            return "\n".join(lines[:at])
    found = _STRETCH_LOOP.search(text)
    if found is not None and evidence(found.group(1)) >= 3 and found.end() >= len(text.rstrip()):
        kept = text[: found.start()]
        return kept if evidence(kept) >= MIN_EVIDENCE_CHARS else ""
    return text


def drop_lines_above(text: str, site: Site) -> str:
    """Nothing if all lines of `text` are the last lines above the cursor once more."""
    place = site.place
    above = [line.rstrip() for line in place.lines_above]
    shown = place.line_before + text
    if place.is_inside_line and not place.inserts_line:
        shown += place.line_after
    lines = [line.rstrip() for line in shown.split("\n") if line.strip()]
    if not lines or lines != above[-len(lines) :] or evidence("".join(lines)) < MIN_EVIDENCE_CHARS:
        return text
    # Where the lines above repeat each other already, one more may be meant.
    is_habit = above[-2 * len(lines) : -len(lines)] == lines
    return text if is_habit else ""
