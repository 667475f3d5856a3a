"""Indentation: the completion's lines in the buffer's own style, relative to what is typed already.

Only white space at the starts of lines changes here, and only where the text is plainly off: a
model mostly writes what it sees around the cursor.
"""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

from nemodiff_lsp.finishing.place import Place, blank_start
from nemodiff_lsp.finishing.scan import CLOSING, opens_block, scan, width
from nemodiff_lsp.finishing.site import Site

_DEFAULT_UNIT = 4
# So many indented lines must agree before a buffer's unit is taken as known.
_MIN_VOTES = 3


def indent_as_buffer(text: str, site: Site) -> str:
    """`text` with the starts of its lines in the buffer's style."""
    if site.is_in_long_text or site.quote or site.language.keeps_tabs:
        return text
    lines = _first_line_once(text.split("\n"), site)
    lines = _below_first(lines, site)
    if len(lines) == 1:
        return lines[0]
    uses_spaces = _uses_spaces(site.place)
    unit = site.place.tab_size or _unit_of(site.place)
    opaque = _lines_in_strings(lines, site)
    lines = _scaled(lines, site, unit, opaque)
    if uses_spaces is None:
        return "\n".join(lines)
    columns = (unit or _DEFAULT_UNIT) if uses_spaces else _spaces_unit(lines, site.place)
    styled = [
        line if at == 0 or at in opaque else _styled(line, uses_spaces, columns)
        for at, line in enumerate(lines)
    ]
    return "\n".join(styled)


def _first_line_once(lines: list[str], site: Site) -> list[str]:
    """The first line without the indentation that the cursor's line has already."""
    place = site.place
    lead = blank_start(lines[0])
    if not place.starts_line or not lead or not place.line_before or not lines[0].strip():
        return lines
    above = place.lines_above[-1] if place.lines_above else ""
    unit = _unit_of(place) or _DEFAULT_UNIT
    allowed = width(above) + (unit if opens_block(above) or site.left.unmatched()[0] else 0)
    typed = width(place.line_before)
    total = width(place.line_before + lead)
    if total <= max(allowed, typed):
        return lines
    target = max(allowed, typed) if lead != place.line_before else typed
    dropped = total - target
    if width(lead) < dropped:
        return lines
    first = " " * (target - typed) + lines[0][len(lead) :]
    # Lines that hang from the first one move with it; others stand where they belong.
    rest = lines[1:]
    hangs = all(width(line) >= total for line in rest if line.strip())
    is_deeper = not opens_block(lines[0]) or any(width(line) > total for line in rest[:1])
    if hangs and is_deeper and "\t" not in "".join(blank_start(line) for line in rest):
        rest = [line[dropped:] if line.strip() else line for line in rest]
    return [first, *rest]


def _below_first(lines: list[str], site: Site) -> list[str]:
    """Lines that were written from column 0 on, moved below the cursor's line."""
    indent = site.place.indent
    following = [line for line in lines[1:] if line.strip()]
    head = (site.place.line_before + lines[0]).rstrip()
    # Elsewhere the lines below a colon may stand right under it: labels, lists.
    is_header = head.endswith("{") or (head.endswith(":") and site.language.name == "python")
    if not indent or not following or not is_header or following[0].lstrip()[0] in CLOSING:
        return lines
    second = following[0]
    inner = width(second)
    if not 0 < inner <= width(indent) or width(indent + second) <= width(indent):
        return lines
    if not all(width(line) == 0 or width(line) >= min(inner, 2) for line in following):
        return lines
    return [lines[0], *(indent + line if line.strip() else line for line in lines[1:])]


def _lines_in_strings(lines: list[str], site: Site) -> frozenset[int]:
    """Numbers of the lines that begin inside a string of several lines."""
    starts, at = [], 0
    for line in lines:
        starts.append(at)
        at += len(line) + 1
    scanned = scan("\n".join(lines), site.language)
    return frozenset(n for n, start in enumerate(starts) if scanned.is_inside_span(start))


def _scaled(lines: list[str], site: Site, unit: int | None, opaque: frozenset[int]) -> list[str]:
    """Lines indented by another width than the buffer's, brought to the buffer's."""
    base = width(site.place.line_before)
    heads = [site.place.line_before + lines[0], *lines[1:]]
    steps = {
        width(below) - width(head)
        for head, below in pairwise(heads)
        if opens_block(head) and below.strip() and width(below) > width(head)
    }
    if unit is None or len(steps) != 1 or any("\t" in blank_start(line) for line in heads):
        return lines
    step = steps.pop()
    deltas = [width(line) - base for n, line in enumerate(lines) if n and line.strip()]
    if step == unit or step not in (2, 4, 8) or any(d < 0 or d % step for d in deltas):
        return lines
    return [
        line
        if n == 0 or n in opaque or not line.strip()
        else " " * (base + (width(line) - base) // step * unit) + line.lstrip(" ")
        for n, line in enumerate(lines)
    ]


def _styled(line: str, uses_spaces: bool, columns: int) -> str:
    lead = blank_start(line)
    if uses_spaces:
        return lead.replace("\t", " " * columns) + line[len(lead) :] if "\t" in lead else line
    if not lead.startswith(" "):
        # Tabs, and what stands behind them to align, are fine.
        return line
    tabs, rest = divmod(lead.count(" ") + columns * lead.count("\t"), columns)
    return "\t" * tabs + " " * rest + line[len(lead) :]


def _uses_spaces(place: Place) -> bool | None:
    """Whether the buffer is indented by spaces; None where it does not tell."""
    if place.indent:
        # What is near counts most: a file may hold text of another style in its strings.
        return "\t" not in place.indent
    if place.insert_spaces is not None:
        return place.insert_spaces
    starts = [line[0] for line in _buffer_lines(place) if line[0] in " \t"]
    num_tabs, num_spaces = starts.count("\t"), starts.count(" ")
    if num_tabs == num_spaces:
        return None
    return num_spaces > num_tabs


def _unit_of(place: Place) -> int | None:
    """Columns of one level in a buffer indented by spaces; None where it does not tell."""
    lines = _buffer_lines(place)
    steps = Counter(
        width(below) - width(line)
        for line, below in pairwise(lines)
        if opens_block(line) and below.startswith(" ") and width(below) > width(line)
    )
    if not steps:
        return None
    step, votes = steps.most_common(1)[0]
    return step if votes >= _MIN_VOTES and step in (2, 3, 4, 8) else None


def _buffer_lines(place: Place) -> list[str]:
    # The rest of the cursor's line is no line of its own.
    return [*place.lines_above, *place.lines_below]


def _spaces_unit(lines: list[str], place: Place) -> int:
    """Columns of one level in lines indented by spaces, for a buffer indented by tabs."""
    widths = [width(line) for line in lines[1:] if line.startswith(" ") and line.strip()]
    level = place.indent.count("\t") + opens_block(place.line_before + lines[0])
    if widths and level and widths[0] % level == 0 and widths[0] // level in (2, 3, 4, 8):
        return widths[0] // level
    return 2 if any(columns % _DEFAULT_UNIT == 2 for columns in widths) else _DEFAULT_UNIT
