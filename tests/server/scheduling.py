"""What the scheduler's tests need: jobs without a server, and work without a model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from engine.messages.completion import CompletionRequest
from engine.server.job import Delta, EngineAnswer, Failure, Job


class SameThreadLoop:
    """Stands for an event loop: what is posted to it happens at once."""

    def call_soon_threadsafe(self, callback: Callable[..., object], *arguments: Any) -> None:
        callback(*arguments)

    def is_closed(self) -> bool:
        return False


class FixedWork:
    """Work that never ends, and whose next forward is `num_joinable_tokens` long."""

    is_ended = False
    result: EngineAnswer | None = None
    error: Exception | None = None

    def __init__(self, num_joinable_tokens: int = 0) -> None:
        self.num_joinable_tokens = num_joinable_tokens

    def check(self) -> None:
        """Nothing can end it."""


def job_of(client: str | None = None, document: str | None = None, **wishes: Any) -> Job:
    request = CompletionRequest(
        prompt=wishes.pop("prompt", "p"), client=client, document=document, **wishes
    )
    return Job(request, 0.0, SameThreadLoop())  # type: ignore[arg-type]


def last_events(job: Job) -> list[EngineAnswer | Failure]:
    """Everything posted to `job` that ends it: exactly one entry when all is well."""
    found = []
    while not job.events.empty():
        event = job.events.get_nowait()
        if not isinstance(event, Delta):
            found.append(event)
    return found
