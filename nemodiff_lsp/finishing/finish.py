"""Finish: from the model's text to the text to show, by rules applied until none changes it.

Called by the language server for every candidate, and again for every answer taken from a cache,
because the text right of the cursor may have changed. Pure: no input or output, no state but parse
trees. Rules cut the end, take repeated text off the start and re-indent; none writes anything.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from nemodiff_lsp.finishing import mend, overlap, repeats, syntax, units
from nemodiff_lsp.finishing.drafts import whole_words
from nemodiff_lsp.finishing.indentation import indent_as_buffer
from nemodiff_lsp.finishing.place import Place, with_newlines
from nemodiff_lsp.finishing.scan import CLOSING
from nemodiff_lsp.finishing.site import Site, site_of

__all__ = ["Finished", "Place", "finish"]

Rule = Callable[[str, Site], str]

# Nothing that is longer is read by a user; the rules look at some lines again and again.
_MAX_CHARS = 8_000
_MAX_ROUNDS = 6
# What no source file holds: control characters, half of a surrogate pair, the sign for bad bytes.
_BROKEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff\ufffd]")


@dataclass(frozen=True, slots=True)
class Finished:
    """text: what to insert at the cursor, with ``\\n`` line ends; empty iff nothing is worth
    showing, and then `dropped_because` is one sentence, free of any text of the user's."""

    text: str
    dropped_because: str | None


_EMPTY = "The model had nothing to add here."
_RULES: tuple[tuple[Rule, str], ...] = (
    (repeats.drop_typed_again, "The model only repeated the line that is being typed."),
    (repeats.cut_loops, "The model only repeated itself."),
    (units.first_line_inside, "There is text right of the cursor, and the model wrote lines."),
    (indent_as_buffer, _EMPTY),
    (overlap.cut_lines_below, "The model only repeated the lines below."),
    (overlap.cut_quote, "The text right of the cursor already closes the string."),
    (overlap.cut_brackets, "The text right of the cursor already closes the bracket."),
    (units.cut_to_unit, "The statement at the cursor is complete."),
    (overlap.cut_rest_of_line, "The model only repeated the text right of the cursor."),
    (repeats.drop_lines_above, "The model only repeated the lines above."),
    (units.settle_end, _EMPTY),
    (mend.cut_errors, "The suggestion would have broken the syntax."),
)


def finish(text: str, place: Place, *, is_invoked: bool, is_draft: bool) -> Finished:
    """What of `text` is worth showing at `place`.

    is_invoked: the user asked by key, so several statements are fine and doubtful text is shown.
    is_draft: a deadline has cut the text, so that its last word may be half of one. Finishing a
    finished text (which is no draft any more) changes nothing. Never raises.
    """
    text = with_newlines(text)[:_MAX_CHARS]
    broken = _BROKEN.search(text)
    text = text if broken is None else text[: broken.start()]
    if is_draft:
        text = whole_words(text)
    if not _is_visible(text):
        return Finished("", "The draft held no whole word yet." if is_draft else _EMPTY)
    site = site_of(place, is_invoked=is_invoked, is_draft=is_draft)
    for _ in range(_MAX_ROUNDS):
        before = text
        for rule, reason in _RULES:
            text = rule(text, site)
            if not _is_visible(text):
                return Finished("", reason)
        if text == before:
            break
    else:
        return Finished("", "The suggestion could not be brought into a stable form.")
    if not is_invoked and _is_trivial(text, site):
        return Finished("", "The suggestion was a single sign.")
    return Finished(text, None)


def _is_visible(text: str) -> bool:
    return any(char.isprintable() and not char.isspace() for char in text)


def _is_trivial(text: str, site: Site) -> bool:
    """Whether `text` is one sign that the code does not need."""
    sign = text.strip()
    if len(sign) != 1 or sign.isalnum():
        return False
    if sign in CLOSING or sign == site.quote:
        return False
    before, after = syntax.num_errors(site, ""), syntax.num_errors(site, text)
    return before is None or after is None or after >= before
