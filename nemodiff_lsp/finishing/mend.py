"""Mend: a completion that would break code that parses is cut until it does not, or dropped.

Code that is being typed seldom parses; there a completion must only not add errors.
"""

from __future__ import annotations

from collections.abc import Iterator

from nemodiff_lsp.finishing import syntax
from nemodiff_lsp.finishing.drafts import whole_words
from nemodiff_lsp.finishing.scan import scan
from nemodiff_lsp.finishing.site import Site

# Parses of at most this many shorter texts; each costs about as much as a keystroke's highlighting.
_MAX_CUTS = 4
_MIN_CHARS = 2


def cut_errors(text: str, site: Site) -> str:
    """The longest part of `text` that adds no syntax error.

    Where there is none: nothing, or the whole text if the user asked for it.
    """
    found = syntax.num_errors(site, text)
    if not found:
        return text
    if text.endswith((",", ";")) and (syntax.num_errors(site, text[:-1]) or 0) < found:
        # The last entry of a list, which the model took for one before the last.
        text = text[:-1]
    if not _adds_errors(text, site):
        return text
    for _, shorter in zip(range(_MAX_CUTS), _shorter(text, site), strict=False):
        if not _adds_errors(shorter, site):
            return shorter
    return text if site.is_invoked else ""


def _adds_errors(text: str, site: Site) -> bool:
    """Whether the document has more errors with `text` in it.

    Where it had some before, their number says little: one that is not inside `text` may be the
    same in another guise, such as the brace of a block that is still to be closed.
    """
    found = syntax.num_errors(site, text)
    if not found:
        return False
    allowed = syntax.num_errors(site, "")
    if allowed is None or found <= allowed:
        return False
    return allowed == 0 or syntax.first_error(site, text) is not None


def _shorter(text: str, site: Site) -> Iterator[str]:
    """Shorter texts that may parse, longest first, each once."""
    seen = {text}
    for candidate in _cuts(text, site):
        if candidate not in seen and sum(not char.isspace() for char in candidate) >= _MIN_CHARS:
            seen.add(candidate)
            yield candidate


def _cuts(text: str, site: Site) -> Iterator[str]:
    at = text.rstrip().rfind("\n")
    while at >= 0:
        head = text[:at].rstrip()
        openers, _ = scan(head, site.language).unmatched()
        # A bracket left open is an error: no need to parse.
        if head and not openers:
            yield f"{head}\n{site.place.line_before}" if site.place.inserts_line else head
        at = text.rfind("\n", 0, at)
    if site.place.inserts_line:
        return
    first = text.partition("\n")[0]
    wrong = syntax.first_error(site, text)
    if wrong is not None and wrong < len(first):
        is_inside_word = text[wrong - 1].isalnum() and text[wrong].isalnum()
        yield (whole_words(text[:wrong]) if is_inside_word else text[:wrong]).rstrip(" \t,")
    openers, closers = scan(first, site.language).unmatched()
    for bracket in [*openers[:1], *closers[:1]]:
        head = first[: bracket.at]
        # What an argument list belongs to is worth little alone, but a draft will grow again.
        if site.is_draft or bracket in closers or not head[-1:].isalnum():
            yield head.rstrip(" \t,")
