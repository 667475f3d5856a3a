"""Units: where a completion ends, as a matter of lines: the line, the statement or the block.

Several lines are kept only where the grammar asks for them or the user does. A tree decides about
statements where there is one (`syntax.py`), indentation and brackets decide about the rest.
"""

from __future__ import annotations

import re

from nemodiff_lsp.finishing import syntax
from nemodiff_lsp.finishing.scan import CLOSING, is_unfinished, opens_block, width
from nemodiff_lsp.finishing.site import Site

_SEPARATORS = re.compile(r"[ \t)\]};,]*")
_DEFINITION = re.compile(
    r"\s*(?:@|(?:(?:pub|export|default|async|static|public|private|protected|abstract|local)\s+)*"
    r"(?:def|class|fn|func|function|struct|enum|impl|trait|interface)\b)"
)
# A line that begins so, deeper than the statement it follows, continues that statement.
_CONTINUATIONS = (".", "?", "&&", "||", "+", "-", "*", "/", ":", "|", "<<", "and ", "or ", ")", "]")


def cut_to_unit(text: str, site: Site) -> str:
    """The part of `text` that belongs to the unit at the cursor."""
    place = site.place
    if place.inserts_line:
        return text[: _inserted_end(text, site)]
    if place.is_inside_line:
        return first_line_inside(text, site)
    if site.is_in_long_text:
        return _paragraph(text, site)
    if site.quote:
        return text.partition("\n")[0]
    text = text[: _block_end(text, site)]
    if place.starts_line or site.is_invoked or place.is_between_braces:
        return text
    return text[: _statement_end(text, site)]


def first_line_inside(text: str, site: Site) -> str:
    """The first line of `text` where it must meet text right of the cursor."""
    is_inside = site.place.is_inside_line and not site.place.inserts_line
    return text.partition("\n")[0] if is_inside else text


def settle_end(text: str, site: Site) -> str:
    """`text` with the white space at its end that its place needs, and no more.

    An inserted line pushes the cursor's line down, so that its indentation has to be written
    again; between braces that the editor has closed the closing one goes onto its own line.
    """
    place = site.place
    body = text.rstrip(" \t\n")
    ends_line = "\n" in text[len(body) :]
    if place.inserts_line and ends_line and body:
        return f"{body}\n{place.line_before}"
    if place.is_between_braces and ends_line and body:
        return f"{body}\n{place.indent}"
    return text if place.is_inside_line and "\n" not in text else body


def _paragraph(text: str, site: Site) -> str:
    """Prose: to the end of the line, or of the paragraph when a new line is being written."""
    if not (site.place.starts_line or site.is_invoked):
        return text.partition("\n")[0]
    head = len(text) - len(text.lstrip())
    end = re.compile(r"\n[ \t]*\n").search(text, head)
    return text if end is None or site.is_invoked else text[: end.start()]


def _block_end(text: str, site: Site) -> int:
    """Where `text` leaves the block that the cursor stands in."""
    place = site.place
    scanned = site.scan_with(text)
    opened = len(place.prefix)
    base: int | None = None
    # Brackets that are for the text to close; where its line ends that closed the last one.
    num_to_close, closed_at = site.num_missing_closers, -1
    # One definition at a time, and at the top level one paragraph.
    is_alone, was_blank = False, False
    start = -len(place.line_before)
    for line in (place.line_before + text).split("\n"):
        end = start + len(line)
        is_code = bool(line.strip()) and not scanned.is_inside_span(opened + start)
        if is_code and base is None:
            base = width(line)
            is_top = base == 0 and place.starts_line and not site.left.unmatched()[0]
            is_alone = is_top or bool(_DEFINITION.match(line))
        elif is_code and base is not None and scanned.depth(opened, opened + start) <= 0:
            is_closing = line.strip()[0] in CLOSING and num_to_close > 0
            if width(line) < base and is_closing:
                num_to_close -= 1
                base = width(line)
                # "} else {" closes nothing for good.
                closed_at = end if scanned.depth(opened + start, opened + end) < 0 else -1
            elif closed_at >= 0:
                return closed_at
            elif width(line) < base:
                return max(start, 0)
            elif is_alone and was_blank and width(line) == base and not site.is_invoked:
                return max(start, 0)
        was_blank = not line.strip()
        start = end + 1
    return len(text)


def _statement_end(text: str, site: Site) -> int:
    """The end of the statement that the cursor stands in; its block belongs to it."""
    if "\n" not in text:
        return len(text)
    end = syntax.statement_end(site, text)
    if end is None:
        return _lexical_end(text, site)
    # The semicolon, the comma or the bracket behind the statement belongs to its line, and so
    # does a comment.
    rest = _SEPARATORS.match(text, end)
    end = rest.end() if rest is not None else end
    line, _, _ = text[end:].partition("\n")
    is_comment = line.lstrip().startswith(site.language.line_comments or "\0")
    return end + len(line) if is_comment else end


def _lexical_end(text: str, site: Site) -> int:
    """The statement's end without a tree: brackets closed, line finished, next one not deeper."""
    place = site.place
    base = width(place.line_before)
    scanned = site.scan_with(text)
    opened = len(place.prefix) - len(place.line_before)
    at = text.find("\n")
    while at >= 0:
        start = text.rfind("\n", 0, at) + 1
        head = (place.line_before if start == 0 else "") + text[start:at]
        following = text[at:].lstrip("\n")
        depth = scanned.depth(opened, len(place.prefix) + at)
        is_deeper = width(following) > base
        is_continued = is_deeper and following.lstrip().startswith(_CONTINUATIONS)
        if depth <= 0 and not is_continued and not (is_unfinished(head) or is_deeper):
            return at
        at = text.find("\n", at + 1)
    return len(text)


def _inserted_end(text: str, site: Site) -> int:
    """Behind the inserted statement's line end, its block included if it opens one.

    If the text right of the cursor already is that block, the header alone is inserted.
    """
    place = site.place
    start = len(text) - len(text.lstrip("\n"))
    at = text.find("\n", start)
    if at < 0:
        return len(text)
    first = text[start:at] if start else place.line_before + text[:at]
    below = place.line_before + place.line_after
    scanned = site.scan_with(text)
    while at >= 0:
        following = text[at + 1 :].partition("\n")[0]
        last = text[:at].rpartition("\n")[2]
        depth = scanned.depth(len(place.prefix), len(place.prefix) + at)
        is_block = width(following) > width(first) or (
            depth > 0 and following.lstrip()[:1] in CLOSING
        )
        is_header_only = opens_block(first) and width(below) > width(first)
        is_open = depth > 0 or is_block or (is_unfinished(last) and not opens_block(last))
        if is_header_only or not is_open or not following.strip():
            return at + 1
        at = text.find("\n", at + 1)
    return len(text)
