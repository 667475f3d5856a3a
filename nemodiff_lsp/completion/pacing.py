"""Pacer: when a request that came by itself may go to the engine. Asked by `completion.py`.

Two bounds: a wait that grows with the engine's measured latency and with the speed of typing, and
asyncio-throttle's number of requests per second. What a key asked for never waits.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

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
        self._limit = _RateLimit(requests_per_s)

    @property
    def latency_ms(self) -> float | None:
        """What the engine usually takes for an answer; None before the first one."""
        return self._latency_ms

    def set_limit(self, requests_per_s: float) -> None:
        """Change the bound on requests per second."""
        if requests_per_s != self._requests_per_s:
            self._requests_per_s = requests_per_s
            self._limit = _RateLimit(requests_per_s)

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
        if self._distance_ms is not None and not is_idle:
            # What is in flight may still fit what is typed; an idle engine waits for nobody: its
            # answer survives keys that follow it, and its prefill those that do not.
            wait_ms = max(wait_ms, _DISTANCES * self._distance_ms - client_wait_ms)
        # A longer wait than the engine's own work would save nothing.
        return max(0.0, min(wait_ms, self._latency_ms, _MAX_WAIT_MS))

    async def admit(self, limit_s: float) -> bool:
        """Return when one more request may be sent; False at once if that is not in `limit_s`."""
        limit = self._limit
        wait_s = limit.wait_s()
        if wait_s > 0.0 and wait_s >= limit_s:
            return False
        try:
            with limit.waiting():
                async with asyncio.timeout(None if limit_s == math.inf else limit_s):
                    await limit.acquire()  # type: ignore[no-untyped-call]
        except TimeoutError:
            return False
        return True

    def admit_ahead(self) -> bool:
        """Whether work that nobody waits for may be sent now; it takes no real request's place."""
        return self._limit.has_room_ahead()

    @staticmethod
    async def hold(wait_ms: float) -> None:
        """Wait; a newer request cancels it."""
        if wait_ms > 0:
            await asyncio.sleep(wait_ms / 1000.0)


class _RateLimit(Throttler):
    """So many real requests in any period, and who waits for a place.

    Work ahead has only the room that real requests leave, and they take no notice of it.
    """

    def __init__(self, requests_per_s: float) -> None:
        num_requests = max(1, int(requests_per_s))
        period_s = num_requests / requests_per_s
        super().__init__(rate_limit=num_requests, period=period_s)
        self._ahead = Throttler(rate_limit=num_requests, period=period_s)
        self._num_waiting = 0

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Somebody waits in this block."""
        self._num_waiting += 1
        try:
            yield
        finally:
            self._num_waiting -= 1

    def wait_s(self) -> float:
        """How long one more request will wait, behind those that wait already."""
        self.flush()  # type: ignore[no-untyped-call]
        sent_s = list(self._task_logs)
        place = len(sent_s) + self._num_waiting - self.rate_limit
        if place < 0:
            return 0.0
        # Whoever waits goes a period after the one who went (or will go) so many places before.
        periods, index = divmod(place, max(1, len(sent_s)))
        ends_s = sent_s[index] + (periods + 1) * self.period if sent_s else 0.0
        return float(max(0.0, ends_s - time.monotonic()))

    def has_room_ahead(self) -> bool:
        """Whether work ahead may be sent; it counts as sent then."""
        self.flush()  # type: ignore[no-untyped-call]
        self._ahead.flush()  # type: ignore[no-untyped-call]
        num_sent = len(self._task_logs) + self._num_waiting + len(self._ahead._task_logs)
        if num_sent >= self.rate_limit:
            return False
        self._ahead._task_logs.append(time.monotonic())
        return True


def _mean(old: float | None, new: float) -> float:
    return new if old is None else (1 - _SHARE) * old + _SHARE * new
