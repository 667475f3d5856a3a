"""Offers: what was shown last in each document, and what is left of it while the user types along.

Asked by `completion.py` before anything else: an answer from here needs no engine. Owned by the
server; used from the event loop only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from urllib.parse import unquote

from lsprotocol import types

from nemodiff_lsp.documents.snapshot import Snapshot
from nemodiff_lsp.reuse.typed import carry_over, typed_since


@dataclass(frozen=True, slots=True)
class Alternative:
    """One text of an answer: as the engine wrote it, and as it was shown (empty if it was not).

    is_draft: a deadline has cut the engine's text.
    """

    text: str
    shown: str = ""
    is_draft: bool = False

    def behind(self, typed: str) -> Alternative | None:
        """What is left of it once `typed` has been typed along it; None if nothing is."""
        if len(typed) < len(self.shown) and self.shown.startswith(typed):
            return Alternative(self.shown[len(typed) :])
        # Behind the end of what was shown there may be more that the engine has written; but not
        # behind a draft, which the engine itself must go on with.
        is_over = self.is_draft and typed.startswith(self.shown) and bool(self.shown)
        if not is_over and len(typed) < len(self.text) and self.text.startswith(typed):
            return Alternative(self.text[len(typed) :], is_draft=self.is_draft)
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """What was offered at `base`.

    text, position, version: what of the first alternative is on the screen, at which place of
    which version of the document; empty when nothing is. forwards: what the texts have cost the
    engine. is_invoked: a key has asked for them.
    """

    id: str
    base: Snapshot
    alternatives: tuple[Alternative, ...]
    is_invoked: bool = False
    forwards: int = 0
    text: str = ""
    position: types.Position = field(default_factory=lambda: types.Position(0, 0))
    version: int | None = None


class Offers:
    """The newest offer of each document."""

    def __init__(self) -> None:
        self._newest: dict[str, Offer] = {}

    def current(self, uri: str) -> Offer | None:
        """The offer of the document `uri`; whether its `version` still stands is the caller's."""
        return self._newest.get(unquote(uri))

    def remember(self, offer: Offer) -> None:
        """Take `offer` for the newest one of its document."""
        self._newest[offer.base.key] = offer

    def match(
        self, now: Snapshot, *, is_invoked: bool
    ) -> tuple[Offer, list[Alternative | None]] | None:
        """The newest offer, and what is left of each of its alternatives; None if none fits `now`.

        A request by key is not served with what came by itself: it wants alternatives.
        """
        offer = self._newest.get(now.key)
        if offer is None or (is_invoked and not offer.is_invoked):
            return None
        typed = typed_since(offer.base, now)
        if typed is None:
            return None
        left = [each.behind(typed) for each in offer.alternatives]
        return (offer, left) if any(left) else None

    def draft_for(self, now: Snapshot) -> str:
        """What of the newest offer may follow at `now`, although the user has departed from it."""
        offer = self._newest.get(now.key)
        typed = None if offer is None else typed_since(offer.base, now)
        if offer is None or typed is None:
            return ""
        drafts = (carry_over(each.text, typed) for each in offer.alternatives)
        return next(filter(None, drafts), "")

    def refine(self, base: Snapshot, texts: Sequence[str]) -> None:
        """Put the whole texts in place of the drafts that are on offer at `base`, if they are."""
        offer = self._newest.get(base.key)
        if offer is not None and typed_since(offer.base, base) == "":
            whole = tuple(Alternative(text) for text in texts)
            self._newest[base.key] = replace(offer, alternatives=whole)

    def forget(self, key: str) -> None:
        """The document has been closed, or is another one now."""
        self._newest.pop(key, None)
