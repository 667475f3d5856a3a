"""Job: one request on its way through the queue, and the events that come back for it.

Made by `engine_thread.EngineThread.submit` on the event loop; the engine thread posts to it.
"""

from __future__ import annotations

import asyncio
import threading
import time
import uuid
from dataclasses import dataclass
from itertools import count
from typing import Protocol

from engine.messages.completion import (
    Choice,
    Completion,
    CompletionRequest,
    Facts,
    FinishReason,
)
from engine.messages.fill import Fill, FillRequest
from engine.messages.repair import Repair, RepairRequest

EngineRequest = CompletionRequest | FillRequest | RepairRequest
EngineAnswer = Completion | Fill | Repair


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


Event = Delta | EngineAnswer | Failure

_numbers = count()


class Work(Protocol):
    """A request that was begun; touched on the engine thread only. See `engine.decoding.loop.Run`.

    When it `is_ended` it has a result or an error; before, it waits for a forward.
    """

    @property
    def is_ended(self) -> bool: ...

    @property
    def result(self) -> EngineAnswer | None: ...

    @property
    def error(self) -> Exception | None: ...

    @property
    def num_joinable_tokens(self) -> int:
        """Tokens of its next forward if that may share a model pass with others; 0 = it may not."""

    def check(self) -> None:
        """End it if it is cancelled or its deadline has passed."""


class Job:
    """One request: its cancel flag and its events, the last of which is no Delta.

    `events` belongs to the event loop; `post` and `claim` may be called from any thread.
    `is_cancelled` only ever goes from False to True, so it needs no lock. number: no other job's.
    work: set by the engine thread when it begins the request.
    """

    def __init__(
        self, request: EngineRequest, arrived_s: float, loop: asyncio.AbstractEventLoop
    ) -> None:
        self.request = request
        self.number = next(_numbers)
        self.arrived_s = arrived_s
        self.events: asyncio.Queue[Event] = asyncio.Queue()
        self.is_cancelled = False
        self.work: Work | None = None
        self.expiry: asyncio.TimerHandle | None = None
        self._loop = loop
        self._answering = threading.Lock()
        self._is_answered = False

    @property
    def is_speculative(self) -> bool:
        return self.request.priority == "speculative"

    @property
    def is_streamed(self) -> bool:
        return isinstance(self.request, CompletionRequest) and self.request.stream

    @property
    def client(self) -> str | None:
        return self.request.client

    @property
    def document(self) -> str | None:
        return self.request.document

    def claim(self) -> bool:
        """The right, and the duty, to `post` the last event; only the first caller has it."""
        with self._answering:
            if self._is_answered:
                return False
            self._is_answered = True
            return True

    def post_delta(self, index: int, text: str) -> None:
        """The engine's `emit`; an answer that is not streamed needs no pieces."""
        if self.is_streamed and text and not self.is_cancelled:
            self.post(Delta(index, text))

    def post(self, event: Event) -> None:
        """Hand `event` to whoever waits on the event loop; dropped when that loop is gone."""
        try:
            self._loop.call_soon_threadsafe(self.events.put_nowait, event)
        except RuntimeError:
            if not self._loop.is_closed():
                raise


def empty_answer(job: Job, model: str, why: FinishReason, reason: str) -> EngineAnswer:
    """The answer to a request that the engine did not work on, or in vain: nothing new.
    reason: one sentence."""
    request, queue_ms = job.request, round((time.monotonic() - job.arrived_s) * 1000.0, 3)
    if isinstance(request, FillRequest):
        return request.unfilled(model, why, reason, queue_ms)
    if isinstance(request, RepairRequest):
        return request.unrepaired(model, why, reason, queue_ms)
    return Completion(
        id=f"cmpl-{uuid.uuid4().hex}",
        created=int(time.time()),
        model=model,
        choices=tuple(Choice(index, "", why) for index in range(request.n)),
        prompt_tokens=0,
        completion_tokens=0,
        facts=Facts.of_no_work(reason, queue_ms),
    )


def outcome(answer: EngineAnswer) -> FinishReason:
    """How the best or the first part of `answer` ended."""
    if isinstance(answer, Completion):
        return answer.choices[0].finish_reason
    return answer.finish_reasons[0] if isinstance(answer, Fill) else answer.finish_reason
