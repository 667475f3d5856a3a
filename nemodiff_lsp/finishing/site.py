"""Site: a place with its language and what scanning found around the cursor.

Built once a call by `finish.py` and handed to every rule, so that no rule scans the document again.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from nemodiff_lsp.finishing.languages import Language, language_of
from nemodiff_lsp.finishing.place import WINDOW_PREFIX_CHARS, WINDOW_SUFFIX_CHARS, Place
from nemodiff_lsp.finishing.scan import Scan, num_missing_closers, scan, scan_with


@dataclass(frozen=True, kw_only=True)
class Site:
    """place: the window, not the whole document. is_invoked: the user asked by key. is_draft: the
    text was cut by a deadline.

    is_left_whole / is_right_whole: whether the window reaches the document's start / end, as far
    as its length tells.
    """

    place: Place
    language: Language
    is_invoked: bool
    is_draft: bool
    is_left_whole: bool
    is_right_whole: bool

    @cached_property
    def left(self) -> Scan:
        """What stands left of the cursor."""
        return scan(self.place.prefix, self.language)

    @cached_property
    def right(self) -> Scan:
        """What stands right of the cursor, taken to begin in code."""
        return scan(self.place.suffix, self.language)

    @cached_property
    def num_missing_closers(self) -> int:
        """How many brackets left of the cursor are for the completion to close."""
        return num_missing_closers(self.left, self.right, is_right_whole=self.is_right_whole)

    @property
    def quote(self) -> str:
        """The quote or comment that the cursor stands in, or an empty string."""
        return self.left.open_quote

    @property
    def is_in_long_text(self) -> bool:
        """Whether the cursor stands in a string or comment of several lines, or in prose."""
        return (
            self.language.is_prose or self.quote == "/*" or self.quote in self.language.long_quotes
        )

    def scan_with(self, text: str) -> Scan:
        """What stands left of the cursor once `text` has been inserted."""
        return scan_with(self.place.prefix, text, self.language)


def site_of(place: Place, *, is_invoked: bool, is_draft: bool) -> Site:
    """The site of a place of any length."""
    return Site(
        place=place.window(),
        language=language_of(place),
        is_invoked=is_invoked,
        is_draft=is_draft,
        is_left_whole=len(place.prefix) <= WINDOW_PREFIX_CHARS,
        is_right_whole=len(place.suffix) <= WINDOW_SUFFIX_CHARS,
    )
