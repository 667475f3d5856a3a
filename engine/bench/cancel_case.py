"""Case cancel: from setting a request's cancel flag to an idle loop, in time and in forwards."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from engine.bench.prompts import CodeHole
from engine.bench.rounds import Progress
from engine.bench.subject import Subject
from engine.engine import Engine
from engine.messages.completion import CompletionRequest

Phase = Literal["prefill", "decode"]
_MAX_TOKENS = 64


@dataclass(slots=True)
class Cancelled:
    """finished: forwards that ended after the flag was set (the one in work, at most). ms: from
    the flag to the end of the run; None when the run was over before the flag."""

    finished: int
    ms: float | None


class Switch:
    """A cancel flag that another thread sets after `delay_s`, or the loop after `num_forwards`.

    Notes how many forwards the engine had done then.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine, self._flag = engine, threading.Event()
        self.set_s, self.num_before = 0.0, 0

    def set(self) -> None:
        """Only the first call counts."""
        if not self._flag.is_set():
            self.set_s, self.num_before = time.perf_counter(), self._engine.num_forwards
            self._flag.set()

    @property
    def is_set(self) -> bool:
        return self._flag.is_set()


def cancel_rows(
    subjects: Sequence[Subject],
    holes: Sequence[CodeHole],
    *,
    num: int,
    seed: int,
    progress: Progress = lambda phase, done, total: None,
) -> list[dict[str, Any]]:
    """For each path and phase `num` requests, each cancelled at a random moment of that phase."""
    rows: list[dict[str, Any]] = []
    phases: tuple[Phase, ...] = ("prefill", "decode")
    rng = random.Random(seed)
    for subject in subjects:
        assert subject.engine is not None
        subject.take_threads()
        found: dict[Phase, list[Cancelled]] = {"prefill": [], "decode": []}
        whole = {phase: _whole_s(subject.engine, holes[0], phase) for phase in phases}
        for number in range(num):
            for phase in rng.sample(phases, len(phases)):
                hole = holes[number % len(holes)]
                delay_s = rng.random() * whole[phase]
                found[phase].append(cancelled(subject.engine, hole, phase, delay_s))
            progress(f"cancel {subject.path}", number + 1, num)
        rows += [_row(subject.path, phase, found[phase]) for phase in phases]
    return rows


def cancelled(engine: Engine, hole: CodeHole, phase: Phase, delay_s: float) -> Cancelled:
    """Run one request and set its flag `delay_s` into `phase`, from another thread."""
    switch = Switch(engine)
    run = engine.begin(_request(engine, hole, phase), is_cancelled=lambda: switch.is_set)
    timer = threading.Timer(delay_s, switch.set)
    timer.start()
    run.check()
    while not run.is_ended:
        engine.run([run])
        run.check()
    ended_s = time.perf_counter()
    was_set = switch.is_set
    timer.cancel()
    timer.join()
    if not was_set:
        return Cancelled(0, None)
    return Cancelled(engine.num_forwards - switch.num_before, (ended_s - switch.set_s) * 1e3)


def _request(engine: Engine, hole: CodeHole, phase: Phase) -> CompletionRequest:
    """A cold one for the prefill; for decoding one whose prompt is known but for a token."""
    document = None if phase == "prefill" else f"cancel {hole.module}"
    if document is not None and document not in engine.prefix_cache.documents:
        _complete(engine, hole, document, 1)
    return CompletionRequest(
        prompt=hole.prefix,
        suffix=hole.suffix,
        mode="ar",
        max_tokens=1 if phase == "prefill" else _MAX_TOKENS,
        document=document,
        stop_rules=False,
        gate=False,
    )


def _complete(engine: Engine, hole: CodeHole, document: str | None, num: int) -> None:
    request = CompletionRequest(
        prompt=hole.prefix,
        suffix=hole.suffix,
        mode="ar",
        max_tokens=num,
        document=document,
        stop_rules=False,
        gate=False,
    )
    engine.complete(request)


def _whole_s(engine: Engine, hole: CodeHole, phase: Phase) -> float:
    """How long the phase takes when nobody cancels it."""
    request = _request(engine, hole, phase)
    started = time.perf_counter()
    engine.complete(request)
    return time.perf_counter() - started


def _row(path: str, phase: Phase, found: Sequence[Cancelled]) -> dict[str, Any]:
    times = [each.ms for each in found if each.ms is not None]
    names = {"median_ms": 50, "p90_ms": 90, "max_ms": 100}
    return {
        "path": path,
        "phase": phase,
        "num_cancelled": len(times),
        "num_over_before": len(found) - len(times),
        "max_forwards": max((each.finished for each in found if each.ms is not None), default=0),
        **{
            name: round(float(np.percentile(times, at)), 3) if times else None
            for name, at in names.items()
        },
    }
