"""CompletionCache: finished answers of the engine, by the text around the cursor. Memory only.

Asked by `completion.py` when the newest offer does not fit: it also knows the places of older ones,
of work done ahead, and of answers that nobody waited for any more.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from dataclasses import dataclass

from nemodiff_lsp.documents.snapshot import Snapshot
from nemodiff_lsp.reuse.offers import Alternative

_TAIL_CHARS = 1_500
_HEAD_CHARS = 500
_END_CHARS = 8
# How far the user may have typed along an answer since.
_MAX_TYPED_CHARS = 128
_MAX_ENTRIES = 512
_MAX_BYTES = 4 << 20
# What an entry takes beside its text.
_ENTRY_BYTES = 500

Key = tuple[str, str, str, str, bool]


@dataclass(frozen=True, slots=True)
class Entry:
    """texts: best first, as the engine wrote them; all empty when it had nothing to offer.

    reason: why it had nothing, as a sentence for the user. forwards: what the texts have cost.
    """

    texts: tuple[str, ...]
    reason: str = ""
    forwards: int = 0


@dataclass(frozen=True, slots=True)
class Hit:
    """What an entry holds for a place: the alternatives left of it there."""

    alternatives: tuple[Alternative, ...]
    entry: Entry


class CompletionCache:
    """Least recently used entries go first, as soon as there are too many or they hold too much.

    A scope says what else an answer depends on: the document, the settings, the model and the text
    of other files. Only answers of the same scope are found, so that none crosses over between
    documents.
    """

    def __init__(self, *, max_entries: int = _MAX_ENTRIES, max_bytes: int = _MAX_BYTES) -> None:
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._entries: OrderedDict[Key, Entry] = OrderedDict()
        # How many entries there are for each last few characters before their place: most places
        # of a search are out of the question at once.
        self._ends: Counter[str] = Counter()
        self._num_bytes = 0
        self.num_puts = 0
        """How often something was put in; the same number means that a search finds the same."""

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def num_bytes(self) -> int:
        """How much is kept, text and book-keeping, roughly."""
        return self._num_bytes

    def put(self, place: Snapshot, scope: str, entry: Entry, *, is_invoked: bool) -> None:
        """Keep the whole answer to a request at `place`."""
        key = _key(place, 0, scope, is_invoked)
        self._drop(key)
        self._entries[key] = entry
        self._ends[_end(key[2])] += 1
        self.num_puts += 1
        self._num_bytes += _size(key, entry)
        while len(self._entries) > self._max_entries or self._num_bytes > self._max_bytes:
            self._drop(next(iter(self._entries)))

    def find(self, now: Snapshot, scope: str, *, is_invoked: bool) -> Hit | None:
        """The answer at `now`, or one from a few typed characters before that still fits.

        Answers that were asked for by key serve any request, others only those that come by
        themselves.
        """
        for num_typed in range(min(_MAX_TYPED_CHARS, len(now.prefix)) + 1):
            stop = len(now.prefix) - num_typed
            if now.prefix[max(0, stop - _END_CHARS) : stop] not in self._ends:
                continue
            for was_invoked in (True,) if is_invoked else (False, True):
                key = _key(now, num_typed, scope, was_invoked)
                entry = self._entries.get(key)
                alternatives = None if entry is None else _left_of(entry, now, num_typed)
                if entry is not None and alternatives is not None:
                    self._entries.move_to_end(key)
                    return Hit(alternatives, entry)
        return None

    def clear(self) -> None:
        """Forget everything."""
        self._entries.clear()
        self._ends.clear()
        self._num_bytes = 0

    def _drop(self, key: Key) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self._num_bytes -= _size(key, entry)
            end = _end(key[2])
            self._ends[end] -= 1
            if not self._ends[end]:
                del self._ends[end]


def _left_of(entry: Entry, now: Snapshot, num_typed: int) -> tuple[Alternative, ...] | None:
    typed = now.prefix[len(now.prefix) - num_typed :]
    left = (Alternative(text).behind(typed) for text in entry.texts)
    found = tuple(each for each in left if each is not None)
    # That there is nothing to offer is an answer for its own place only.
    return found if found or not num_typed else None


def _key(place: Snapshot, num_typed: int, scope: str, is_invoked: bool) -> Key:
    end = len(place.prefix) - num_typed
    tail = place.prefix[max(0, end - _TAIL_CHARS) : end]
    return place.key, scope, tail, place.suffix[:_HEAD_CHARS], is_invoked


def _end(tail: str) -> str:
    return tail[-_END_CHARS:]


def _size(key: Key, entry: Entry) -> int:
    texts = (*key[:4], *entry.texts, entry.reason)
    return _ENTRY_BYTES + sum(4 * len(text) if not text.isascii() else len(text) for text in texts)
