"""Acceptance: what becomes of the offers on the screen, read off the documents' changes.

Most editors tell nothing of it. Called by `server.py` when an offer is sent and after each
didChange; looks at the offer's own few characters only. Clients that do tell call `Recorder`
themselves; both together count once.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from nemodiff_lsp.stats.recorder import Recorder
from nemodiff_lsp.stats.survival import LinesOf, Survival

_MAX_TEXT_CHARS = 8_192
_AFTER_CHARS = 24
# Fast typing arrives several keys at a time; a word taken from an offer is longer and ends whole.
_MIN_TAKEN_CHARS = 4
_CLOSERS = re.compile(r"[)\]}>\"'`;,]*")


@dataclass(slots=True)
class _Shown:
    """An offer on the screen.

    line, column: where it goes, in characters; before: the line up to there; after: the beginning
    of what follows; num_matched: how much of the text stands in the document by now.
    """

    offer_id: str
    text: str
    line: int
    column: int
    before: str
    after: str
    num_matched: int = 0


class Acceptance:
    """Follows the newest offer of each document. `lines_of`: the lines of an open document."""

    def __init__(self, recorder: Recorder, survival: Survival, lines_of: LinesOf) -> None:
        self._recorder = recorder
        self._survival = survival
        self._lines_of = lines_of
        self._shown: dict[str, _Shown] = {}

    def shown(
        self,
        offer_id: str,
        uri: str,
        line: int,
        column: int,
        text: str,
        language_id: str | None,
    ) -> None:
        """`text` (``\\n`` line ends) is offered at `line` and `column`, both in characters.

        An id that is on the screen already is the rest of the same offer, which is followed on.
        """
        old = self._shown.get(uri)
        if old is not None and old.offer_id == offer_id:
            return
        if old is not None:
            self._dismiss(uri, old)
        lines = self._lines_of(uri)
        self._recorder.shown(offer_id, len(text), language_id)
        if lines is None or not text or not 0 <= line < len(lines) or len(text) > _MAX_TEXT_CHARS:
            return
        after = _text_at(lines, line, column, _AFTER_CHARS)
        before = lines[line][:column]
        self._shown[uri] = _Shown(offer_id, text, line, column, before, after)

    def changed(self, uri: str) -> None:
        """The document has changed: typed along, taken, or gone another way?"""
        offer = self._shown.get(uri)
        lines = self._lines_of(uri)
        if offer is None or lines is None:
            return
        num_now = _num_matched(offer, lines)
        if num_now is None:
            self._dismiss(uri, offer)
        elif num_now > offer.num_matched:
            self._advance(uri, offer, num_now)
        else:
            offer.num_matched = num_now

    def accepted(self, uri: str, offer_id: str) -> None:
        """The client says that the offer was taken whole (its command has run)."""
        offer = self._shown.get(uri)
        if offer is not None and offer.offer_id == offer_id:
            self._take(uri, offer)

    def closed(self, uri: str) -> None:
        """The document was closed."""
        self._shown.pop(uri, None)
        self._survival.closed(uri)

    def _advance(self, uri: str, offer: _Shown, num_now: int) -> None:
        step = num_now - offer.num_matched
        is_whole = num_now == len(offer.text)
        offer.num_matched = num_now
        if is_whole and (step >= _MIN_TAKEN_CHARS or step == len(offer.text)):
            self._take(uri, offer)
        elif not is_whole and step >= _MIN_TAKEN_CHARS and _ends_whole(offer.text, num_now):
            self._recorder.partly_accepted(offer.offer_id, num_now)
        else:
            self._recorder.typed_through(offer.offer_id, num_now)
        if is_whole:
            self._shown.pop(uri, None)

    def _take(self, uri: str, offer: _Shown) -> None:
        self._shown.pop(uri, None)
        self._recorder.accepted(offer.offer_id, len(offer.text))
        self._survival.taken(uri, offer.line, offer.text)

    def _dismiss(self, uri: str, offer: _Shown) -> None:
        self._shown.pop(uri, None)
        if offer.num_matched == 0:
            self._recorder.dismissed(offer.offer_id)


def _num_matched(offer: _Shown, lines: Sequence[str]) -> int | None:
    """How much of the offer stands at its place; None when the user has gone another way."""
    if offer.line >= len(lines) or not lines[offer.line].startswith(offer.before):
        return None
    length = len(offer.text) + 2 * _AFTER_CHARS
    found = _text_at(lines, offer.line, offer.column, length)
    longest = _num_common(found, offer.text)
    for num_matched in range(longest, -1, -1):
        # What followed must follow still, perhaps behind brackets that the editor has closed.
        closers = _CLOSERS.match(found, num_matched)
        ends = {num_matched, closers.end() if closers else num_matched}
        if any(_continues(found, end, offer.after) for end in ends):
            return num_matched
    return None


def _continues(found: str, start: int, after: str) -> bool:
    return found.startswith(after, start) and (bool(after) or start == len(found))


def _num_common(first: str, second: str) -> int:
    for index, (mine, other) in enumerate(zip(first, second, strict=False)):
        if mine != other:
            return index
    return min(len(first), len(second))


def _text_at(lines: Sequence[str], line: int, column: int, num_chars: int) -> str:
    """Up to `num_chars` characters from there on, with ``\\n`` line ends."""
    pieces = [lines[line][column:]]
    length = len(pieces[0])
    while length < num_chars and (line := line + 1) < len(lines):
        pieces.append(lines[line])
        length += len(lines[line])
    text = "".join(pieces).replace("\r\n", "\n").replace("\r", "\n")
    return text[:num_chars]


def _ends_whole(text: str, end: int) -> bool:
    """Whether a word or line of `text` ends at `end`."""
    return not (text[end - 1].isalnum() and text[end].isalnum())
