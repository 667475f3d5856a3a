"""Call: one request on its way through the stages of `completion.py` and to the engine.

Also used by `reuse/ahead.py`, for what is asked before anybody wants it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from engine.messages.completion import Completion, CompletionRequest, Priority, Snippet
from nemodiff_lsp.clients.profile import ClientProfile
from nemodiff_lsp.completion.request import build_request, scope_of
from nemodiff_lsp.documents.snapshot import Snapshot
from nemodiff_lsp.link.engine_state import EngineState
from nemodiff_lsp.reuse.flights import Flight, Flights, Purpose
from nemodiff_lsp.reuse.offers import Alternative
from nemodiff_lsp.settings.settings import Settings

_GATED = "The model was not sure enough."
_LATE = "The deadline passed before there was a draft; the answer is being prepared."


class Engine(Protocol):
    """The way to the engine; None when it has no answer."""

    @property
    def state(self) -> EngineState: ...

    async def complete(self, request: CompletionRequest) -> Completion | None: ...


class Host(Protocol):
    """The language server, as the pipeline sees it."""

    settings: Settings
    profile: ClientProfile

    @property
    def link(self) -> Engine: ...

    def is_current(self, snapshot: Snapshot) -> bool:
        """Whether the document is still the one that the snapshot was taken from."""
        ...

    async def context_for(self, snapshot: Snapshot) -> tuple[Sequence[Snippet], str | None]:
        """Pieces of other files for a request, best first, and the document's own shown path."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """How a completion was asked for. tab_size (columns) and insert_spaces: of the buffer.

    waited_ms: what has passed of its deadline already.
    """

    is_invoked: bool = False
    tab_size: int | None = None
    insert_spaces: bool | None = None
    waited_ms: float = 0.0


class Stopwatch:
    """How long each stage takes. clock: seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._begin_s = self._last_s = clock()
        self.stages_ms: dict[str, float] = {}

    @property
    def total_ms(self) -> float:
        """Since the request arrived."""
        return (self._clock() - self._begin_s) * 1000.0

    def lap(self, stage: str) -> None:
        """What has passed since the last lap went into `stage`."""
        now_s = self._clock()
        passed_ms = (now_s - self._last_s) * 1000.0
        self.stages_ms[stage] = self.stages_ms.get(stage, 0.0) + passed_ms
        self._last_s = now_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """context, path: see `CompletionRequest`. scope: what an answer depends on beside the text."""

    now: Snapshot
    asked: Asked = Asked()
    watch: Stopwatch = field(default_factory=Stopwatch)
    context: Sequence[Snippet] = ()
    path: str | None = None
    scope: str = ""


class Caller:
    """Completes calls by what the engine needs beside the text, and sends them off."""

    def __init__(self, host: Host, flights: Flights) -> None:
        self._host = host
        self._flights = flights

    async def with_context(self, call: Call) -> Call:
        """`call` with the pieces of other files that go along."""
        context, path = await self._host.context_for(call.now)
        call.watch.lap("context")
        scope = scope_of(self._host.settings, context)
        return replace(call, context=context, path=path, scope=scope)

    def launch(
        self,
        call: Call,
        purpose: Purpose,
        deadline_ms: float,
        *,
        draft: str = "",
        asker: object | None = None,
    ) -> Flight:
        """Send `call` to the engine in place of what is in flight for the document."""
        priority: Priority = "interactive" if purpose == "asked" else "speculative"
        request = build_request(
            call.now,
            self._host.settings,
            is_invoked=call.asked.is_invoked,
            deadline_ms=deadline_ms,
            priority=priority,
            draft=draft,
            context=call.context,
            path=call.path,
        )
        return self._flights.launch(
            Flight(
                place=call.now,
                request=request,
                purpose=purpose,
                scope=call.scope,
                is_invoked=call.asked.is_invoked,
                asker=asker,
            )
        )


def deadline_ms_of(asked: Asked, settings: Settings, profile: ClientProfile) -> float:
    """How long a completion may take from when it was asked for."""
    if asked.is_invoked:
        chosen_ms, usual_ms = settings.invoked_deadline_ms, profile.invoked_deadline_ms
    else:
        chosen_ms, usual_ms = settings.deadline_ms, profile.deadline_ms
    return usual_ms if chosen_ms is None else chosen_ms


def is_whole(completion: Completion) -> bool:
    """Whether the engine came to an end with its first text; else it is a draft, or cancelled."""
    first = completion.choices[:1]
    return all(choice.finish_reason in ("stop", "length") for choice in first)


def alternatives_of(completion: Completion) -> list[Alternative]:
    """The texts of an answer, best first."""
    return [
        Alternative(choice.text, is_draft=choice.finish_reason == "deadline")
        for choice in sorted(completion.choices, key=lambda choice: choice.index)
        if choice.finish_reason != "cancelled"
    ]


def silence_of(completion: Completion) -> str:
    """Why an answer holds no text, in a sentence; empty when nothing is known."""
    if completion.facts.gated:
        return _GATED
    return _LATE if any(each.is_draft for each in alternatives_of(completion)) else ""
