"""Ahead: work that nobody waits for yet, so that the next request finds its answer ready.

A start at a change, for clients that wait before they ask; the rest of a draft that a deadline has
cut; what follows an offer once it is taken. Begun by `completion.py`, ended by anything real.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import replace
from typing import Any

from nemodiff_lsp.completion.calls import Asked, Call, Caller, Host, Stopwatch
from nemodiff_lsp.completion.power import Power
from nemodiff_lsp.documents.snapshot import Snapshot
from nemodiff_lsp.reuse.cache import CompletionCache
from nemodiff_lsp.reuse.flights import Flights
from nemodiff_lsp.reuse.offers import Offers

DEADLINE_MS = 10_000.0
"""Even a long cold prompt on a slow machine has an answer by then."""


class Ahead:
    """Used from the event loop only; what it starts are flights like any other."""

    def __init__(
        self,
        host: Host,
        caller: Caller,
        flights: Flights,
        offers: Offers,
        cache: CompletionCache,
        power: Power,
    ) -> None:
        self._host, self._caller, self._flights = host, caller, flights
        self._offers, self._cache, self._power = offers, cache, power
        self._preparing: dict[str, asyncio.Task[None]] = {}

    def speculate(self, now: Snapshot) -> None:
        """Begin what will most likely be asked for at `now`."""
        settings = self._host.settings
        is_wanted = settings.speculative_start and self._host.profile.starts_on_change
        if is_wanted and self._is_allowed() and self._host.link.state.kind == "ready":
            self._prepare(now, self._speculate(now))

    def refine(self, call: Call, draft: str) -> None:
        """Go on with what a deadline has cut to `draft`, for the next request there."""
        if self._is_allowed():
            quiet = replace(call, watch=Stopwatch())
            self._caller.launch(quiet, "refinement", DEADLINE_MS, draft=draft)

    def prefetch(self, now: Snapshot, text: str) -> None:
        """Ask for what follows once `text`, which is on offer at `now`, has been taken."""
        if self._host.settings.prefetch and self._is_allowed() and self._flights.is_idle:
            place = now.after(text)
            self._prepare(place, self._prefetch(now, place))

    def stop(self, key: str) -> None:
        """Something real has happened in the document: begin nothing more of this."""
        task = self._preparing.pop(key, None)
        if task is not None:
            task.cancel()

    def stop_all(self) -> None:
        """Begin nothing more, anywhere."""
        for key in list(self._preparing):
            self.stop(key)

    def _is_allowed(self) -> bool:
        settings = self._host.settings
        if not settings.reuse:
            # Nobody would ever find the answer.
            return False
        return settings.on_battery == "same" or not self._power.is_on_battery()

    def _prepare(self, place: Snapshot, work: Coroutine[Any, Any, None]) -> None:
        self.stop(place.key)
        task = asyncio.ensure_future(work)
        self._preparing[place.key] = task
        task.add_done_callback(lambda _: self._forget(place.key, task))

    def _forget(self, key: str, task: asyncio.Task[None]) -> None:
        if self._preparing.get(key) is task:
            del self._preparing[key]

    async def _speculate(self, now: Snapshot) -> None:
        if self._offers.match(now, is_invoked=False) is not None:
            return
        call = await self._caller.with_context(Call(now=now, asked=Asked()))
        flight = self._flights.of(now.key)
        if flight is not None and flight.may_serve(now):
            if flight.asker is not None or self._flights.patience_s(flight, now) > 0:
                return
        if self._cache.find(now, call.scope, is_invoked=False) is None:
            self._caller.launch(call, "speculation", DEADLINE_MS)

    async def _prefetch(self, now: Snapshot, place: Snapshot) -> None:
        call = await self._caller.with_context(Call(now=place, asked=Asked()))
        is_known = self._cache.find(place, call.scope, is_invoked=False) is not None
        if not is_known and self._flights.is_idle and self._host.is_current(now):
            self._caller.launch(call, "prefetch", DEADLINE_MS)
