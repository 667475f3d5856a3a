"""Driving decoding modes: ask for a forward, look around, run it, count it.

Between any two forwards the request's cancel flag and deadline are read; a mode never has to. A
`Run` is a request whose forwards whoever owns the model does one at a time, and so may do others'
in between; `run_steps` does one after the other to the end.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Generic, Literal, NamedTuple, TypeVar

import torch

from engine.decoding.forward import Forward, Kind, Output, Steps, run_forward
from engine.kv_cache import KVCache
from engine.models.decoder import Decoder

Interruption = Literal["cancelled", "deadline"]
Result = TypeVar("Result")
Found = TypeVar("Found")


class Interrupted(Exception):
    """A request was stopped between two forwards; `why` says by what."""

    def __init__(self, why: Interruption) -> None:
        super().__init__(why)
        self.why = why


class Pass(NamedTuple):
    """A forward, and the cache over which it is to be run."""

    forward: Forward
    cache: KVCache


Passes = Generator[tuple[Pass, ...], Sequence[Output], Result]
"""Like Steps, of a request that may work with several caches. Each yield is one model pass: for one
forward, or for several joinable ones over different caches."""


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


def on_cache(steps: Steps[Result], cache: KVCache) -> Passes[Result]:
    """`steps`, whose forwards all run over `cache`."""
    try:
        forward = next(steps)
        while True:
            try:
                (output,) = yield (Pass(forward, cache),)
            except Interrupted as interrupted:
                forward = steps.throw(interrupted)
            else:
                forward = steps.send(output)
    except StopIteration as end:
        result: Result = end.value
        return result
    finally:
        steps.close()


def watched(steps: Steps[Result], after_forward: Callable[[], None]) -> Steps[Result]:
    """`steps`, with `after_forward` called when they have taken in the output of a forward."""
    try:
        forward = next(steps)
        while True:
            output = yield forward
            try:
                forward = steps.send(output)
            finally:
                after_forward()
    except StopIteration as end:
        result: Result = end.value
        return result
    finally:
        steps.close()


def can_join(forward: Forward) -> bool:
    """Whether `forward` may share a model pass: one row, and no prefill, whose chunk is work enough
    for a pass and would keep the others waiting."""
    return forward.kind != "prefill" and forward.ids.shape[0] == 1


class Run(Generic[Found, Result]):
    """One request in work. `pending` is what it waits for, all of it one model pass, and empty when
    it has ended: with `result`, or with `error`, which nobody has raised yet.

    passes: ends on an Interrupted thrown into it, with what it has. finish: turns what `passes`
    found into the result, when all its forwards are counted in `meter`.
    """

    def __init__(
        self,
        passes: Passes[Found],
        meter: Meter,
        limits: Limits,
        finish: Callable[[Found], Result],
    ) -> None:
        self.pending: tuple[Pass, ...] = ()
        self.result: Result | None = None
        self.error: Exception | None = None
        self._passes, self._meter, self._limits, self._finish = passes, meter, limits, finish
        self._go_on(partial(next, passes))

    @property
    def is_ended(self) -> bool:
        return not self.pending

    @property
    def is_unwanted(self) -> bool:
        """Whether it is cancelled, and its pending pass leaves nothing that a later request wants:
        the prompt that a prefill reads is still there when the next key is pressed."""
        is_prefill = any(each.forward.kind == "prefill" for each in self.pending)
        return not is_prefill and self._limits.is_cancelled()

    @property
    def num_joinable_tokens(self) -> int:
        """Tokens of the pending pass if it may share a model pass with others'; 0 = it may not."""
        if not all(can_join(each.forward) for each in self.pending):
            return 0
        return sum(each.forward.ids.shape[1] for each in self.pending)

    def check(self) -> None:
        """End the run if it is cancelled or its time is up; call before each of its passes."""
        while self.pending:
            try:
                self._limits.check()
            except Interrupted as interrupted:
                self._go_on(partial(self._passes.throw, interrupted))
            else:
                return

    def take(self, outputs: Sequence[Output], elapsed_ms: float) -> None:
        """Go on with the outputs of the pending pass, which took `elapsed_ms`."""
        assert len(outputs) == len(self.pending) > 0
        # Prefills join nobody, and the others are only counted together.
        kind, started = self.pending[0].forward.kind, time.monotonic()

        def count() -> None:
            # The head runs on what the mode asks for, which is after the pass itself.
            self._meter.add(kind, elapsed_ms + (time.monotonic() - started) * 1e3)

        self._go_on(partial(self._passes.send, outputs), count)

    def fail(self, error: Exception) -> None:
        """The pending pass could not be done."""
        self._go_on(partial(self._passes.throw, error))

    def _go_on(
        self, ask: Callable[[], tuple[Pass, ...]], count: Callable[[], None] = lambda: None
    ) -> None:
        self.pending = ()
        with torch.inference_mode():
            try:
                try:
                    self.pending = ask()
                finally:
                    count()
            except StopIteration as end:
                self._end(end.value)
            except Exception as error:
                self.error = error

    def _end(self, found: Any) -> None:
        try:
            self.result = self._finish(found)
        except Exception as error:
            self.error = error


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
