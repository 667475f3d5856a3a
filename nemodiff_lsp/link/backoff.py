"""Backoff: how long to leave an engine alone that keeps failing; owned by `engine_link.py`."""

from __future__ import annotations

import time
from collections.abc import Callable

_FIRST_S = 1.0
_LONGEST_S = 60.0
_STABLE_S = 60.0


class Backoff:
    """Counts failures in a row: 1, 2, 4 ... 60 seconds of pause.

    An engine that has answered a request, or has been ready for a minute, has proved itself: the
    count begins anew. The first loss of an engine costs no pause at all, since it may have been
    killed on purpose.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._num_failures = 0
        self._retry_at_s = float("-inf")
        self._ready_since_s: float | None = None

    @property
    def num_failures(self) -> int:
        """Failures since an engine last proved itself."""
        return self._num_failures

    @property
    def pause_s(self) -> float:
        """Seconds until another start; 0 when it may be now."""
        return max(0.0, self._retry_at_s - self._clock())

    def note_ready(self) -> None:
        """An engine has loaded its model."""
        self._ready_since_s = self._clock()

    def note_answer(self) -> None:
        """An engine has answered a request."""
        self._num_failures = 0
        self._retry_at_s = float("-inf")

    def note_start_failed(self) -> None:
        """An engine did not start, or ended before it was ready."""
        self._ready_since_s = None
        self._count(self._num_failures)

    def note_crash(self) -> None:
        """An engine that was ready has gone without being asked to."""
        since_s, self._ready_since_s = self._ready_since_s, None
        if since_s is not None and self._clock() - since_s >= _STABLE_S:
            self.note_answer()
        self._count(self._num_failures - 1)

    def _count(self, num_doublings: int) -> None:
        self._num_failures += 1
        pause_s = (
            0.0 if num_doublings < 0 else min(_LONGEST_S, _FIRST_S * 2.0 ** min(num_doublings, 16))
        )
        self._retry_at_s = self._clock() + pause_s
