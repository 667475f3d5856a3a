"""Tab stops of snippets (`$1`, `${2:name}`, `${3|a,b|}`) as holes, when `find.py` is asked."""

from __future__ import annotations

import re

from nemodiff_lsp.holes.hole import Hole

_START = re.compile(r"\\.|\$(?:(?P<plain>\d+)|\{(?P<braced>\d+)(?P<next>[:|}]))", re.DOTALL)


def find_tab_stops(text: str) -> list[Hole]:
    """The outermost tab stops; those of one number form a group."""
    holes: list[Hole] = []
    position = 0
    while (match := _START.search(text, position)) is not None:
        position = match.end()
        number = match.group("plain") or match.group("braced")
        if number is None:
            continue
        default = ""
        if match.group("next") in (":", "|"):
            end = _closing_brace(text, match.end())
            if end is None:
                continue
            inside = text[match.end() : end]
            # Of a choice, the first.
            is_choice = match.group("next") == "|"
            default = inside.rstrip("|").partition(",")[0] if is_choice else inside
            position = end + 1
        holes.append(Hole(match.start(), position, "tab_stop", default=default, group=number))
    return holes


def _closing_brace(text: str, start: int) -> int | None:
    depth = 1
    for match in re.compile(r"\\.|[{}]", re.DOTALL).finditer(text, start):
        depth += {"{": 1, "}": -1}.get(match.group(), 0)
        if depth == 0:
            return match.start()
    return None
