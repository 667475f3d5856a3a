"""Pacer: when a request that came by itself may go to the engine. Asked by `completion.py`.

Two bounds: a wait that grows with the engine's measured latency and with the speed of typing, and
asyncio-throttle's number of requests per second. What a key asked for never waits.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from asyncio_throttle.throttler import Throttler

_QUICK_MS = 60.0
"""An idle engine that answers faster than this is asked at once."""

_MAX_WAIT_MS = 200.0
# Work that was begun ahead may have been left alone for long.
_MAX_UNFINISHED_MS = 1_000.0
# Keys that are further apart are no burst of typing.
_BURST_MS = 300.0
# In a burst the next key is most likely there after so many usual distances of keys.
_DISTANCES = 1.2
# The share of a new value in a moving average.
_SHARE = 0.3


class Pacer:
    """Knows how long the engine takes and how fast the user types. clock: seconds."""

    def __init__(
        self, *, requests_per_s: float = 10.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._clock = clock
        self._latency_ms: float | None = None
        self._distance_ms: float | None = None
        self._last_key_s = float("-inf")
        self._requests_per_s = requests_per_s
        self._throttler = _throttler(requests_per_s)

    @property
    def latency_ms(self) -> float | None:
        """What the engine usually takes for an answer; None before the first one."""
        return self._latency_ms

    def set_limit(self, requests_per_s: float) -> None:
        """Change the bound on requests per second."""
        if requests_per_s != self._requests_per_s:
            self._requests_per_s = requests_per_s
            self._throttler = _throttler(requests_per_s)

    def note_key(self) -> None:
        """A document has changed."""
        now_s = self._clock()
        distance_ms = (now_s - self._last_key_s) * 1000.0
        self._last_key_s = now_s
        is_burst = distance_ms <= _BURST_MS
        self._distance_ms = _mean(self._distance_ms, distance_ms) if is_burst else None

    def note_latency(self, latency_ms: float) -> None:
        """The engine has answered."""
        self._latency_ms = _mean(self._latency_ms, latency_ms)

    def note_unfinished(self, elapsed_ms: float) -> None:
        """A request was given up after `elapsed_ms`: the engine takes that long at least."""
        self._latency_ms = max(self._latency_ms or 0.0, min(elapsed_ms, _MAX_UNFINISHED_MS))

    def wait_ms(self, base_ms: float, client_wait_ms: float, *, is_idle: bool) -> float:
        """How long to hold an automatic request back.

        base_ms: the client's own share of waiting. client_wait_ms: how long the client has already
        waited before it asked. is_idle: the engine does nothing else for us.
        """
        if self._latency_ms is None or (is_idle and self._latency_ms <= _QUICK_MS):
            return 0.0
        wait_ms = base_ms
        if self._distance_ms is not None:
            wait_ms = max(wait_ms, _DISTANCES * self._distance_ms - client_wait_ms)
        # A longer wait than the engine's own work would save nothing.
        return max(0.0, min(wait_ms, self._latency_ms, _MAX_WAIT_MS))

    async def admit(self) -> None:
        """Return when one more request may be sent this second."""
        await self._throttler.acquire()  # type: ignore[no-untyped-call]

    @staticmethod
    async def hold(wait_ms: float) -> None:
        """Wait; a newer request cancels it."""
        if wait_ms > 0:
            await asyncio.sleep(wait_ms / 1000.0)


def _throttler(requests_per_s: float) -> Throttler:
    num_requests = max(1, int(requests_per_s))
    return Throttler(rate_limit=num_requests, period=num_requests / requests_per_s)


def _mean(old: float | None, new: float) -> float:
    return new if old is None else (1 - _SHARE) * old + _SHARE * new
