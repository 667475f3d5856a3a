"""The one loop that runs every decoding mode: ask for a forward, look around, run it, count it.

Between any two forwards it reads the request's cancel flag and deadline; a mode never has to.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, TypeVar

import torch

from engine.decoding.forward import Kind, Steps, run_forward
from engine.kv_cache import KVCache
from engine.models.decoder import Decoder

Interruption = Literal["cancelled", "deadline"]
Result = TypeVar("Result")


class Interrupted(Exception):
    """A request was stopped between two forwards; `why` says by what."""

    def __init__(self, why: Interruption) -> None:
        super().__init__(why)
        self.why = why


@dataclass(slots=True)
class Meter:
    """Forwards by kind and the wall time spent in prefill and in everything after it."""

    counts: dict[Kind, int] = field(default_factory=dict)
    prefill_ms: float = 0.0
    decode_ms: float = 0.0

    @property
    def num_prefill(self) -> int:
        return self.counts.get("prefill", 0)

    @property
    def num_forwards(self) -> int:
        """Model passes apart from the prefill."""
        return sum(self.counts.values()) - self.num_prefill

    def add(self, kind: Kind, elapsed_ms: float) -> None:
        self.counts[kind] = self.counts.get(kind, 0) + 1
        if kind == "prefill":
            self.prefill_ms += elapsed_ms
        else:
            self.decode_ms += elapsed_ms


@dataclass(frozen=True, slots=True)
class Limits:
    """deadline_s: time.monotonic() after which no further forward starts (None = never)."""

    is_cancelled: Callable[[], bool] = lambda: False
    deadline_s: float | None = None

    def check(self) -> None:
        """Raises Interrupted."""
        if self.is_cancelled():
            raise Interrupted("cancelled")
        if self.deadline_s is not None and time.monotonic() >= self.deadline_s:
            raise Interrupted("deadline")


def run_steps(
    steps: Steps[Result],
    decoder: Decoder,
    cache: KVCache,
    meter: Meter,
    limits: Limits,
    after_forward: Callable[[], None] = lambda: None,
) -> Result:
    """Drive `steps` to its end. Raises Interrupted; the mode's state stays readable then."""
    with torch.inference_mode():
        try:
            forward = next(steps)
            while True:
                limits.check()
                started = time.monotonic()
                output = run_forward(forward, decoder, cache)
                try:
                    forward_after = steps.send(output)
                finally:
                    meter.add(forward.kind, (time.monotonic() - started) * 1e3)
                    after_forward()
                forward = forward_after
        except StopIteration as end:
            result: Result = end.value
            return result
        finally:
            steps.close()
