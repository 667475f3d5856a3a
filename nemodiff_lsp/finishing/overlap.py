"""Overlap: what the text right of the cursor brings itself, and a completion must not bring again.

Closing brackets and quotes that the editor has typed, the rest of the cursor's line, whole lines
below. What balances is kept.
"""

from __future__ import annotations

from nemodiff_lsp.finishing.scan import PAIRS, Scan, is_balanced, opens_block
from nemodiff_lsp.finishing.site import Site

# Letters and digits that equal text must hold before it counts as repeated by mistake: lines such
# as "}" and "else:" come again in honest code.
MIN_EVIDENCE_CHARS = 6


def evidence(text: str) -> int:
    """Letters and digits in `text`."""
    return sum(char.isalnum() for char in text)


def cut_quote(text: str, site: Site) -> str:
    """`text` up to the quote that stands right of the cursor: ``"hello |"``."""
    quote = site.quote
    if not quote or quote in site.language.line_comments or quote == "/*":
        return text
    if _count(site.place.line_after, quote) % 2 == 0:
        return text
    inside = len(site.place.prefix)
    scanned = site.scan_with(text)
    spans = [span for span in scanned.spans if span.opening == quote and span.end > inside]
    if not spans or scanned.open_quote == quote:
        return text
    # The last string of the text is the one that the suffix closes.
    ended = spans[-1].end - inside
    closed = text[:ended].endswith(quote)
    return text[: ended - len(quote)] if closed else text[:ended]


def _count(line: str, quote: str) -> int:
    return line.replace("\\" + quote, "").count(quote)


def cut_brackets(text: str, site: Site) -> str:
    """`text` up to the first bracket that closes what the suffix closes: ``foo(|)``."""
    scanned = site.scan_with(text)
    inside = len(site.place.prefix)
    surplus = [bracket.at - inside for bracket in scanned.unmatched(inside)[1]]
    if len(surplus) <= site.num_missing_closers or not site.left.unmatched()[0]:
        return text
    # One line may close and open again: "(f(|))" and "a) + g(b". Further ones are other code.
    first_line = text.partition("\n")[0]
    if _is_balanced(site.scan_with(first_line), site):
        return text[: next((at for at in surplus if at > len(first_line)), len(text))]
    return text[: surplus[site.num_missing_closers]]


def cut_rest_of_line(text: str, site: Site) -> str:
    """`text` without the end that repeats the start of what stands right of the cursor."""
    rest = site.place.line_after if site.place.is_inside_line else ""
    stripped = rest.strip()
    # Of whole lines that are being inserted `cut_lines_below` takes care.
    if not stripped or (site.place.inserts_line and "\n" in text):
        return text
    at = text.find(stripped)
    if at > 0 and evidence(stripped) >= MIN_EVIDENCE_CHARS and text[at:].strip() == stripped:
        return text[:at]
    for length in range(min(len(text), len(rest)), 0, -1):
        if text.endswith(rest[:length]) and _is_surplus(text, rest, length, site):
            return text[:-length]
    bare = rest.lstrip()
    for length in range(min(len(text), len(bare)), 1, -1):
        if text.endswith(bare[:length]) and _is_surplus(text, bare, length, site):
            return text[:-length].rstrip(" ")
    return text


def _is_surplus(text: str, rest: str, length: int, site: Site) -> bool:
    tail, kept = text[-length:], text[:-length]
    if not tail.strip():
        # The line end of an inserted line is no overlap with the text that it pushes down.
        return "\n" not in tail
    if any(char in "()[]{}" for char in tail):
        if site.quote:
            # Brackets of a template inside a string, which are not scanned.
            return any(text.count(opener) < text.count(closer) for opener, closer in PAIRS.items())
        is_needed = _is_balanced(site.scan_with(text), site)
        return not is_needed and _is_balanced(site.scan_with(kept), site)
    if evidence(tail) == 0:
        return length > 1 or tail in ":;,{" or tail == rest.rstrip()
    ends_inside_word = rest[length : length + 1].isalnum() and tail[-1].isalnum()
    begins_inside_word = kept[-1:].isalnum() and tail[0].isalnum()
    if ends_inside_word:
        return False
    if begins_inside_word:
        return length >= 3 or tail == rest.rstrip()
    return length > 1 or tail == rest.rstrip()


def _is_balanced(left: Scan, site: Site) -> bool:
    return is_balanced(
        left, site.right, is_left_whole=site.is_left_whole, is_right_whole=site.is_right_whole
    )


def cut_lines_below(text: str, site: Site) -> str:
    """`text` up to the line from which on it repeats the lines below the cursor."""
    place = site.place
    below = [line.rstrip() for line in place.lines_below]
    if place.inserts_line:
        below.insert(0, (place.line_before + place.line_after).rstrip())
    elif place.is_inside_line:
        return text
    if not below:
        return text
    starts = [0] if place.starts_line else []
    starts += [at + 1 for at, char in enumerate(text) if char == "\n"]
    for start in starts:
        shown = (place.line_before if start == 0 else "") + text[start:]
        lines = [line.rstrip() for line in shown.split("\n") if line.strip()]
        if _repeats(lines, below, site):
            return text[:start]
    return text


def _repeats(lines: list[str], below: list[str], site: Site) -> bool:
    """Whether `lines` begin as the lines below do, for longer than by accident."""
    num_equal = 0
    for line, other in zip(lines, below, strict=False):
        if line != other:
            break
        num_equal += 1
    if num_equal == 0:
        return False
    equal = "".join(lines[:num_equal])
    if evidence(equal) < MIN_EVIDENCE_CHARS:
        return False
    if num_equal == len(lines):
        return num_equal > 1 or not opens_block(lines[0]) or len(lines) == len(below)
    if num_equal >= 2:
        return evidence(equal) >= 2 * MIN_EVIDENCE_CHARS
    # One line that other lines follow: only if it stands nowhere else.
    document = site.place.prefix + site.place.suffix
    is_rare = document.count(lines[0].strip()) == 1
    return is_rare and not opens_block(lines[0]) and evidence(equal) >= 2 * MIN_EVIDENCE_CHARS
