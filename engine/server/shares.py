"""Shares: who has had least of the engine, among those that want it now.

Used by `scheduler.py`, once for the clients and once for the documents of each. Start-time fair
queueing: everyone has a virtual time, which grows by what they use; who comes back after a pause
starts where the others are, so that nobody saves up, and nobody is rid of what they have used.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable


class Shares:
    """`enter` and `leave` come in pairs, one for each piece of work that a key has in hand."""

    def __init__(self) -> None:
        self._used: dict[Hashable, float] = {}
        self._num_pieces: Counter[Hashable] = Counter()
        self._floor = 0.0

    def __len__(self) -> int:
        """Keys that are remembered."""
        return len(self._used)

    def used(self, key: Hashable) -> float:
        """The virtual time of `key`, which has entered; the smallest is the next to be served."""
        return self._used[key]

    def enter(self, key: Hashable) -> None:
        if key not in self._num_pieces:
            self._raise_floor()
            self._used[key] = max(self._used.get(key, 0.0), self._floor)
        self._num_pieces[key] += 1

    def charge(self, key: Hashable, amount: float) -> None:
        self._used[key] += amount

    def leave(self, key: Hashable) -> None:
        self._num_pieces[key] -= 1
        if self._num_pieces[key]:
            return
        del self._num_pieces[key]
        self._raise_floor()
        # Whoever is at the floor or below would be raised to it anyway.
        for idle in [each for each in self._used if each not in self._num_pieces]:
            if self._used[idle] <= self._floor:
                del self._used[idle]

    def _raise_floor(self) -> None:
        """To the least time of those that want something; it never falls. With nobody left all
        start alike again."""
        if self._num_pieces:
            self._floor = max(self._floor, min(self._used[key] for key in self._num_pieces))
        else:
            self._floor = max(self._used.values(), default=self._floor)
