"""Completer: the life of one request, from the snapshot to the texts to show.

Asked by `server.py`. The order is that of cost: what is left of the offer on the screen, the cache,
a request that is in flight already, the engine. Used from the event loop only.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from engine.messages.completion import Completion
from nemodiff_lsp.completion.calls import (
    Asked,
    Call,
    Caller,
    Host,
    Stopwatch,
    alternatives_of,
    deadline_ms_of,
    is_whole,
    silence_of,
)
from nemodiff_lsp.completion.pacing import Pacer
from nemodiff_lsp.completion.power import Power
from nemodiff_lsp.completion.showing import finish_each
from nemodiff_lsp.documents.snapshot import Snapshot
from nemodiff_lsp.reuse.ahead import Ahead
from nemodiff_lsp.reuse.cache import CompletionCache, Entry
from nemodiff_lsp.reuse.flights import Flight, Flights
from nemodiff_lsp.reuse.offers import Alternative, Offer, Offers
from nemodiff_lsp.reuse.typed import typed_since
from nemodiff_lsp.settings.settings import Settings

logger = logging.getLogger(__name__)

Source = Literal["engine", "offer", "cache", "speculation", "none"]

_MIN_DEADLINE_MS = 50.0
"""What a request has left at least, however long it was held back."""

_OVERTAKEN = "The settings have changed while the completion was under way."
_NOTHING = "The model had nothing to add here."


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """texts: what to show at the cursor, best first. why: if there are none, a sentence.

    offer_id: names what is shown; num_typed: how many characters of it have been typed already.
    forwards: what the texts have cost, now (source ``engine``) or before. is_lost: the engine, or
    what it was to do, went away meanwhile. stages_ms: how long each stage took.
    """

    texts: tuple[str, ...] = ()
    source: Source = "none"
    offer_id: str = ""
    num_typed: int = 0
    why: str = ""
    forwards: int = 0
    is_lost: bool = False
    stages_ms: dict[str, float] = field(default_factory=dict)


class Completer:
    """One for each language server. clock: seconds, monotonic."""

    def __init__(
        self,
        host: Host,
        *,
        power: Power | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._host = host
        self._clock = clock
        self.offers = Offers()
        self.cache = CompletionCache()
        self.pacer = Pacer(requests_per_s=host.settings.max_requests_per_second, clock=clock)
        self.flights = Flights(
            lambda request: host.link.complete(request), self.pacer, self._land, clock
        )
        self._caller = Caller(host, self.flights)
        self.ahead = Ahead(
            host, self._caller, self.flights, self.offers, self.cache, power or Power()
        )

    async def complete(self, now: Snapshot, asked: Asked) -> Answer:
        """The answer to a request at `now`. Cancelling it ends the engine's work for it."""
        call = Call(now=now, asked=asked, watch=Stopwatch(self._clock))
        is_reusing = self._host.settings.reuse
        answer = self._from_offer(call) if is_reusing else None
        if answer is None:
            call = await self._caller.with_context(call)
            num_puts = self.cache.num_puts
            answer = self._from_cache(call, "cache") if is_reusing else None
        if answer is None:
            await self._pace(call)
            answer = await self._from_flight(call) if is_reusing else None
        if answer is None and is_reusing and self.cache.num_puts != num_puts:
            # What was in flight may have landed during a wait.
            answer = self._from_cache(call, "speculation")
        if answer is None:
            answer = await self._from_engine(call)
        return replace(answer, stages_ms=call.watch.stages_ms)

    def on_edit(self, key: str, now: Snapshot | None) -> None:
        """The document has changed; `now` is where the cursor should be, if that is known."""
        self.pacer.note_key()
        self.ahead.stop(key)
        self.flights.on_edit(key, now if self._host.settings.reuse else None)

    def on_request(self, now: Snapshot) -> None:
        """A request has arrived: what is in flight and cannot serve it is ended."""
        self.ahead.stop(now.key)
        self.flights.on_edit(now.key, now if self._host.settings.reuse else None)

    def on_close(self, key: str) -> None:
        """The document was closed, or opened anew."""
        self.ahead.stop(key)
        self.flights.cancel(key)
        self.offers.forget(key)

    def on_settings(self, settings: Settings) -> None:
        """The settings have changed; what was asked under others is of no use."""
        self.pacer.set_limit(settings.max_requests_per_second)
        self.close()

    def close(self) -> None:
        """End whatever is in flight."""
        self.ahead.stop_all()
        self.flights.cancel_all()

    def _from_offer(self, call: Call) -> Answer | None:
        """What is left of the newest offer, if the user types along it."""
        match = self.offers.match(call.now, is_invoked=call.asked.is_invoked)
        call.watch.lap("offer")
        if match is None:
            return None
        offer, left = match
        asked = replace(call.asked, is_invoked=call.asked.is_invoked or offer.is_invoked)
        remaining = [each for each in left if each is not None]
        texts, _ = finish_each(remaining, call.now, asked, self._host.settings)
        call.watch.lap("finish")
        if not any(texts):
            return None
        typed = typed_since(offer.base, call.now) or ""
        offer = replace(offer, alternatives=_retold(offer.alternatives, left, texts, typed))
        return self._offered(call, offer, [text for text in texts if text], "offer", len(typed))

    def _from_cache(self, call: Call, source: Source) -> Answer | None:
        hit = self.cache.find(call.now, call.scope, is_invoked=call.asked.is_invoked)
        call.watch.lap("cache")
        if hit is None:
            return None
        return self._show(call, hit.alternatives, source, hit.entry.reason, hit.entry.forwards)

    async def _pace(self, call: Call) -> None:
        """Hold an automatic request back, in case the next key makes it pointless."""
        if call.asked.is_invoked:
            return
        profile, wait_ms = self._host.profile, self._host.settings.debounce_ms
        if wait_ms is None:
            is_idle = self.flights.is_idle
            wait_ms = self.pacer.wait_ms(profile.debounce_ms, profile.wait_ms, is_idle=is_idle)
        await self.pacer.hold(wait_ms)
        call.watch.lap("wait")

    async def _from_flight(self, call: Call) -> Answer | None:
        """What was begun before brings, if it fits and lands soon."""
        flight = self.flights.of(call.now.key)
        typed = None if flight is None else typed_since(flight.place, call.now)
        if flight is None or typed is None:
            return None
        if call.asked.is_invoked and not flight.is_invoked:
            return None
        completion = await self._patiently(flight, call)
        if completion is None or not is_whole(completion):
            return None
        left = [each.behind(typed) for each in alternatives_of(completion)]
        found = [each for each in left if each is not None]
        if typed and not found:
            return None
        forwards = completion.facts.forwards
        return self._show(call, found, "speculation", silence_of(completion), forwards)

    async def _patiently(self, flight: Flight, call: Call) -> Completion | None:
        """The result of `flight` if it lands soon enough; it is ours from now on."""
        asker = object()
        patience_s = self.flights.patience_s(flight, call.now)
        self.flights.take(flight, asker)
        try:
            if patience_s > 0:
                await asyncio.wait({flight.task}, timeout=patience_s)
        except asyncio.CancelledError:
            self.flights.release(flight, asker)
            raise
        call.watch.lap("flight")
        return flight.result()

    async def _from_engine(self, call: Call) -> Answer:
        passed_ms = call.asked.waited_ms + call.watch.total_ms
        whole_ms = deadline_ms_of(call.asked, self._host.settings, self._host.profile)
        deadline_ms = max(_MIN_DEADLINE_MS, whole_ms - passed_ms)
        draft = self.offers.draft_for(call.now) if self._host.settings.reuse else ""
        asker = object()
        flight = self._caller.launch(call, "asked", deadline_ms, draft=draft, asker=asker)
        try:
            # wait() tells our own cancellation (it raises) from that of the flight (it returns).
            await asyncio.wait({flight.task})
        finally:
            self.flights.release(flight, asker)
        call.watch.lap("engine")
        completion = flight.result()
        if completion is None:
            state = self._host.link.state
            is_ended = flight.task.cancelled()
            why = _OVERTAKEN if is_ended else flight.refusal or state.message
            return Answer(why=why, is_lost=is_ended or state.kind == "lost")
        facts, found = completion.facts, alternatives_of(completion)
        logger.info("%s, %d tokens, %d forwards.", facts.mode, facts.tokens, facts.forwards)
        answer = self._show(call, found, "engine", silence_of(completion), facts.forwards)
        if found and found[0].is_draft:
            self.ahead.refine(call, found[0].text)
        return answer

    def _show(
        self,
        call: Call,
        alternatives: Sequence[Alternative],
        source: Source,
        reason: str,
        forwards: int,
    ) -> Answer:
        """The answer that offers `alternatives`, as far as they are worth showing."""
        texts, dropped = finish_each(alternatives, call.now, call.asked, self._host.settings)
        call.watch.lap("finish")
        pairs = zip(alternatives, texts, strict=True)
        shown = [replace(each, shown=text) for each, text in pairs if text]
        if not shown:
            is_silent = not any(each.text for each in alternatives)
            why = (reason if is_silent else dropped) or dropped or _NOTHING
            return Answer(source=source, why=why, forwards=forwards)
        offer = Offer(
            id=secrets.token_hex(8),
            base=call.now,
            alternatives=tuple(shown),
            is_invoked=call.asked.is_invoked,
            forwards=forwards,
        )
        return self._offered(call, offer, [each.shown for each in shown], source)

    def _offered(
        self, call: Call, offer: Offer, texts: Sequence[str], source: Source, num_typed: int = 0
    ) -> Answer:
        """Remember `offer`, of which `texts` will be on the screen."""
        position, version = call.now.replaced.end, call.now.version
        self.offers.remember(replace(offer, text=texts[0], position=position, version=version))
        return Answer(
            texts=tuple(texts),
            source=source,
            offer_id=offer.id,
            num_typed=num_typed,
            forwards=offer.forwards,
        )

    def _land(self, flight: Flight, completion: Completion) -> None:
        """Keep a whole answer, whoever asked for it."""
        if not is_whole(completion) or not self._host.settings.reuse:
            return
        texts = tuple(each.text for each in alternatives_of(completion) if not each.is_draft)
        entry = Entry(texts, silence_of(completion), completion.facts.forwards)
        self.cache.put(flight.place, flight.scope, entry, is_invoked=flight.is_invoked)
        if flight.purpose == "refinement":
            self.offers.refine(flight.place, texts)


def _retold(
    alternatives: Sequence[Alternative],
    left: Sequence[Alternative | None],
    texts: Sequence[str],
    typed: str,
) -> tuple[Alternative, ...]:
    """`alternatives` with what is on the screen now; those that are `left` have a text each."""
    remaining = iter(texts)
    shown = ("" if each is None else next(remaining) for each in left)
    return tuple(
        replace(each, shown=typed + text) if text else each
        for each, text in zip(alternatives, shown, strict=True)
    )
