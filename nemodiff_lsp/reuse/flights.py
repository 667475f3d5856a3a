"""Flights: the requests that are with the engine, at most one for each document.

A flight outlives the request that began it as long as what the user types may still be what it
says: the next request takes it over. Owned by `completion.py`; used from the event loop only.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Literal

from engine.messages.completion import Completion, CompletionRequest
from nemodiff_lsp.completion.pacing import Pacer
from nemodiff_lsp.documents.snapshot import Snapshot
from nemodiff_lsp.reuse.typed import typed_since

logger = logging.getLogger(__name__)

Purpose = Literal["asked", "speculation", "refinement", "prefetch"]
"""asked: somebody waits. speculation: somebody will soon. refinement: of a draft that was shown.
prefetch: of what follows an offer."""

GRACE_S = 0.25
"""How long a flight that nobody waits for any more may still be taken over."""

_MAX_TYPED_CHARS = 64
# With nothing measured yet, work that was begun for this very place is worth this much waiting.
_FIRST_PATIENCE_S = 0.15
_LATENCIES = 1.5

_TOO_MANY = "More requests than the setting maxRequestsPerSecond allows: this one was too late."


@dataclass(slots=True, eq=False, kw_only=True)
class Flight:
    """One request in flight. scope: see `CompletionCache`. asker: who waits for it, if anybody.

    started_s: when it went off (monotonic), None while it is held back by the rate limit.
    refusal: why it never went off, in a sentence.
    """

    place: Snapshot
    request: CompletionRequest
    purpose: Purpose
    scope: str
    is_invoked: bool
    asker: object | None = None
    started_s: float | None = None
    refusal: str = ""
    task: asyncio.Future[Completion | None] = field(init=False)
    grace: asyncio.TimerHandle | None = None

    def may_serve(self, now: Snapshot) -> bool:
        """Whether its answer can still be one for `now`, or for where the user is going."""
        typed = typed_since(self.place, now)
        if typed is not None:
            return len(typed) <= _MAX_TYPED_CHARS
        # Work ahead is done for a place that the user has yet to reach.
        return self.purpose == "prefetch" and typed_since(now, self.place) is not None

    def result(self) -> Completion | None:
        """The answer, or None while there is none and if there will not be any."""
        return self.task.result() if self.task.done() and not self.task.cancelled() else None


class Flights:
    """Starts, keeps and ends them.

    ask: sends a request to the engine. land(flight, completion): is called with each answer.
    """

    def __init__(
        self,
        ask: Callable[[CompletionRequest], Awaitable[Completion | None]],
        pacer: Pacer,
        land: Callable[[Flight, Completion], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ask, self._pacer, self._land, self._clock = ask, pacer, land, clock
        self._flights: dict[str, Flight] = {}
        self._ending: set[asyncio.Future[Completion | None]] = set()

    @property
    def is_idle(self) -> bool:
        """Whether nothing is in flight."""
        return not self._flights

    def of(self, key: str) -> Flight | None:
        """The flight of a document."""
        return self._flights.get(key)

    def launch(self, flight: Flight) -> Flight:
        """Send `flight` off in place of what is in flight for its document.

        Work ahead that the rate limit has no room for is dropped: it changes nothing, and has no
        result.
        """
        if flight.purpose != "asked" and not self._pacer.admit_ahead():
            flight.task = asyncio.get_running_loop().create_future()
            flight.task.set_result(None)
            return flight
        self.cancel(flight.place.key)
        if flight.purpose == "asked":
            self._cancel_prefetches()
        flight.task = asyncio.ensure_future(self._fly(flight))
        # Dropped only when it has ended, or the event loop might lose it.
        self._ending.add(flight.task)
        flight.task.add_done_callback(self._ending.discard)
        self._flights[flight.place.key] = flight
        return flight

    def on_edit(self, key: str, now: Snapshot | None) -> None:
        """The document has changed: end what cannot serve `now` any more, the rest may stay.

        now: where the cursor should be now; None when that is not known.
        """
        flight = self._flights.get(key)
        if flight is None:
            return
        if now is not None and flight.may_serve(now):
            self._detach(flight)
        else:
            self.cancel(key)

    def take(self, flight: Flight, asker: object) -> None:
        """`asker` waits for `flight` from now on."""
        flight.asker = asker
        _stop_grace(flight)

    def release(self, flight: Flight, asker: object) -> None:
        """`asker` waits no more; the work ends unless somebody else has taken it over."""
        if flight.asker is asker:
            self._end(flight)

    def patience_s(self, flight: Flight, now: Snapshot) -> float:
        """How long a request at `now` had better wait for `flight` before it asks anew.

        A new request begins from the start with what may come out the same; but only a flight that
        is about to land is worth waiting for, since it may turn out to say something else.
        """
        latency_ms = self._pacer.latency_ms
        started_s = flight.started_s
        elapsed_s = 0.0 if started_s is None else self._clock() - started_s
        if latency_ms is None:
            is_ahead = flight.purpose != "asked" and typed_since(flight.place, now) == ""
            return max(0.0, _FIRST_PATIENCE_S - elapsed_s) if is_ahead else 0.0
        return min(GRACE_S, max(0.0, _LATENCIES * latency_ms / 1000.0 - elapsed_s))

    def cancel(self, key: str) -> None:
        """End what is in flight for a document, if anything is."""
        flight = self._flights.get(key)
        if flight is not None:
            self._end(flight)

    def cancel_all(self) -> None:
        """End whatever is in flight."""
        for key in list(self._flights):
            self.cancel(key)

    def _cancel_prefetches(self) -> None:
        for flight in list(self._flights.values()):
            if flight.purpose == "prefetch":
                self._end(flight)

    def _detach(self, flight: Flight) -> None:
        flight.asker = None
        _stop_grace(flight)
        if flight.purpose == "asked":
            loop = asyncio.get_running_loop()
            flight.grace = loop.call_later(GRACE_S, self._end_if_unasked, flight)

    def _end_if_unasked(self, flight: Flight) -> None:
        flight.grace = None
        if flight.asker is None:
            self._end(flight)

    def _end(self, flight: Flight) -> None:
        _stop_grace(flight)
        if self._flights.get(flight.place.key) is flight:
            del self._flights[flight.place.key]
            is_real = flight.purpose == "asked" and not flight.is_invoked
            if is_real and flight.started_s is not None:
                # Else an engine that is slower than the user types would never be known as slow.
                self._pacer.note_unfinished((self._clock() - flight.started_s) * 1000.0)
            # Once only: a second time would break off the closing of the connection.
            flight.task.cancel()

    async def _fly(self, flight: Flight) -> Completion | None:
        try:
            request = await self._admitted(flight)
            if request is None:
                return None
            flight.started_s = self._clock()
            completion = await self._ask(request)
        except Exception as error:
            # The last resort: nobody may be left waiting for a flight that broke.
            logger.error("A request to the engine failed (%s).", type(error).__name__)
            logger.debug("The failed request:", exc_info=True)
            return None
        finally:
            if self._flights.get(flight.place.key) is flight:
                del self._flights[flight.place.key]
        if completion is not None:
            if flight.request.n == 1 and flight.purpose in ("asked", "speculation"):
                self._pacer.note_latency((self._clock() - flight.started_s) * 1000.0)
            self._land(flight, completion)
        return completion

    async def _admitted(self, flight: Flight) -> CompletionRequest | None:
        """The request with what is left of its deadline, once the rate limit lets it go; None when
        that is too late."""
        request = flight.request
        if flight.is_invoked or flight.purpose != "asked":
            return request
        deadline_ms = math.inf if request.deadline_ms is None else request.deadline_ms
        began_s = self._clock()
        is_admitted = await self._pacer.admit(deadline_ms / 1000.0)
        left_ms = deadline_ms - (self._clock() - began_s) * 1000.0
        # Below a millisecond no request is valid, nor of any use.
        if not is_admitted or left_ms < 1.0:
            flight.refusal = _TOO_MANY
            return None
        return request if request.deadline_ms is None else replace(request, deadline_ms=left_ms)


def _stop_grace(flight: Flight) -> None:
    if flight.grace is not None:
        flight.grace.cancel()
        flight.grace = None
