"""Abreast: several sequences of one request, whose forwards share model passes.

Made by `engine.infill.alternatives`. What they decode is no matter here; which of them go on next
is: the earlier come first, as they are the better ones and the ones that are shown first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Generic, TypeVar

from engine.decoding.forward import Forward, Output, Steps
from engine.decoding.loop import Interrupted, Pass, Passes, can_join
from engine.kv_cache import KVCache

Result = TypeVar("Result")


class Strand(Generic[Result]):
    """Steps over a cache of their own. `forward` is what they wait for, None when they have ended
    with `result`; what they raise is raised to whoever goes on with them."""

    def __init__(self, steps: Steps[Result], cache: KVCache) -> None:
        self.cache = cache
        self.forward: Forward | None = None
        self.result: Result | None = None
        self._steps = steps
        self._go_on(partial(next, steps))

    @property
    def is_ended(self) -> bool:
        return self.forward is None

    def take(self, output: Output) -> None:
        """Go on with the output of `forward`."""
        self._go_on(partial(self._steps.send, output))

    def interrupt(self, interrupted: Interrupted) -> None:
        """Throw `interrupted` in, on which the steps end with what they have."""
        self._go_on(partial(self._steps.throw, interrupted))

    def close(self) -> None:
        """End the steps wherever they are, without a result."""
        self.forward = None
        self._steps.close()

    def _go_on(self, ask: Callable[[], Forward]) -> None:
        self.forward = None
        try:
            self.forward = ask()
        except StopIteration as end:
            self.result = end.value


def one_pass(strands: Sequence[Strand[Result]], max_tokens: int) -> Passes[None]:
    """Take as many of `strands` as one model pass of up to `max_tokens` can a step further: the
    first that has not ended in any case. An Interrupted thrown in reaches all that have not."""
    picked = _joined(strands, max_tokens)
    try:
        outputs = yield tuple(Pass(forward, strand.cache) for strand, forward in picked)
    except Interrupted as interrupted:
        for strand in strands:
            if not strand.is_ended:
                strand.interrupt(interrupted)
        return
    for (strand, _), output in zip(picked, outputs, strict=True):
        strand.take(output)


def _joined(
    strands: Sequence[Strand[Result]], max_tokens: int
) -> list[tuple[Strand[Result], Forward]]:
    waiting = [(each, each.forward) for each in strands if each.forward is not None]
    picked, num_tokens = waiting[:1], waiting[0][1].ids.shape[1]
    if not can_join(picked[0][1]):
        return picked
    for strand, forward in waiting[1:]:
        more = forward.ids.shape[1]
        if can_join(forward) and num_tokens + more <= max_tokens:
            picked.append((strand, forward))
            num_tokens += more
    return picked
