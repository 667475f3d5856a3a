"""Job: one request on its way through the queue, and the events that come back for it.

Made by `engine_thread.EngineThread.submit` on the event loop; the engine thread posts to it.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from dataclasses import dataclass

from engine.messages.completion import Choice, Completion, CompletionRequest, Facts


@dataclass(frozen=True, slots=True)
class Delta:
    """New text of choice `index`."""

    index: int
    text: str


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a request got no completion: an HTTP status, one sentence, a short code."""

    status: int
    message: str
    code: str
    field: str | None = None


Event = Delta | Completion | Failure


class Job:
    """One request: its cancel flag and its events, the last of which is no Delta.

    `events` belongs to the event loop; `post` may be called from any thread. `is_cancelled` only
    ever goes from False to True, so it needs no lock.
    """

    def __init__(
        self, request: CompletionRequest, arrived_s: float, loop: asyncio.AbstractEventLoop
    ) -> None:
        self.request = request
        self.arrived_s = arrived_s
        self.events: asyncio.Queue[Event] = asyncio.Queue()
        self.is_cancelled = False
        self.expiry: asyncio.TimerHandle | None = None
        self._loop = loop

    def post(self, event: Event) -> None:
        """Hand `event` to whoever waits on the event loop; dropped when that loop is gone."""
        try:
            self._loop.call_soon_threadsafe(self.events.put_nowait, event)
        except RuntimeError:
            if not self._loop.is_closed():
                raise

    def post_delta(self, index: int, text: str) -> None:
        """The engine's `emit`; an answer that is not streamed needs no pieces."""
        if self.request.stream and text and not self.is_cancelled:
            self.post(Delta(index, text))


def expired_completion(job: Job, model: str, reason: str) -> Completion:
    """The answer to a request whose deadline passed before the engine could begin: no text."""
    waited_ms = (time.monotonic() - job.arrived_s) * 1000.0
    return Completion(
        id=f"cmpl-{uuid.uuid4().hex}",
        created=int(time.time()),
        model=model,
        choices=tuple(Choice(index, "", "deadline") for index in range(job.request.n)),
        prompt_tokens=0,
        completion_tokens=0,
        facts=Facts(
            mode="none",
            route="none",
            route_reason=reason,
            forwards=0,
            prefill_forwards=0,
            tokens=0,
            score=None,
            num_near_ties=0,
            cached_tokens=0,
            timings_ms={"queue": round(waited_ms, 3)},
        ),
    )
