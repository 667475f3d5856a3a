"""Heap: what the C library keeps of freed memory goes back to the system now and then.

KV of prompts of all lengths comes and goes, and leaves holes between what stays; with glibc the
resident memory of an engine under load crept up by some MiB a minute without any leak. Used by
`turns.py` on the engine thread.
"""

from __future__ import annotations

from collections.abc import Callable

from engine.native.memory import release

NUM_REQUESTS = 32
"""Memory is given back after so many: it takes milliseconds, which not every request should pay."""


class Heap:
    """trim: gives memory back, where the C library can."""

    def __init__(self, trim: Callable[[], object] | None = None) -> None:
        self._trim = trim or release
        self._num_ended = 0

    def note_end(self) -> None:
        """A request has ended."""
        self._num_ended += 1
        if self._num_ended % NUM_REQUESTS == 0:
            self._trim()
