"""Turns: one forward of the engine at a time, each for whom the scheduler picks.

Run by `engine_thread.py` on the engine thread, while the event loop submits and cancels: what both
touch, the scheduler, is locked; a forward never runs under the lock.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from engine.errors import EngineError
from engine.server.breakdown import BROKEN, FAULTY, Breakdown
from engine.server.faults import INTERNAL_FAULT, log_without_text
from engine.server.heap import Heap
from engine.server.job import EngineRequest, Failure, Job, Work
from engine.server.metrics import Metrics
from engine.server.scheduler import Scheduler


class CompletionEngine(Protocol):
    """A loaded model as this thread sees it; every method is called on the engine thread only."""

    num_forwards: int
    """Grows by one with each model pass; the one thing that other threads may read."""
    max_batch_tokens: int
    """Longest pass that is worth sharing between requests."""

    def begin(
        self,
        request: EngineRequest,
        *,
        is_cancelled: Callable[[], bool],
        arrived_s: float,
        emit: Callable[[int, str], None],
    ) -> Work:
        """A request up to its first forward.

        arrived_s: `time.monotonic` of the arrival. emit(choice_index, new_text): pieces in order,
        which joined must be a beginning of that choice's final text. Raises EngineError.
        """

    def run(self, runs: Sequence[Any], /) -> None:
        """One model pass: the next forward of each of `runs`, which `begin` has given. Several
        must be joinable. What goes wrong ends the one it belongs to with an error."""

    def describe(self) -> dict[str, object]:
        """Model, device, dtype, threads, reasons and notes, as JSON values."""


class Turns:
    """refuse: answers a job with a failure; on_change: to be called, with the lock held, when the
    scheduler's state has changed; the rest as in EngineThread."""

    def __init__(
        self,
        engine: CompletionEngine,
        scheduler: Scheduler,
        lock: threading.Condition,
        *,
        metrics: Metrics,
        clock: Callable[[], float],
        refuse: Callable[[Job, Failure], None],
        wrong_model: Callable[[str | None], Failure | None],
        on_change: Callable[[], None],
    ) -> None:
        self._engine, self._scheduler, self._lock = engine, scheduler, lock
        self._metrics, self._clock = metrics, clock
        self._refuse, self._wrong_model, self._on_change = refuse, wrong_model, on_change
        self._breakdown = Breakdown()
        self._heap = Heap()

    def take_one(self) -> str | None:
        """At most one model pass; before it, everything that is cancelled or late ends.

        Returns why there must not be another one, in a sentence for the user, else None.
        """
        try:
            self._take_one()
        except Exception as error:
            # A fault outside of any request; if it went on, those who wait would never know.
            log_without_text(error)
            return FAULTY
        return BROKEN if self._breakdown.is_lasting else None

    def _take_one(self) -> None:
        self._check(self._scheduler.active)
        with self._lock:
            picked = self._scheduler.pick(self._engine.max_batch_tokens)
            if picked and picked[0].work is None:
                self._scheduler.start(picked[0])
            self._on_change()
        started = self._clock()
        if picked and picked[0].work is None:
            self._begin(picked[0])
            self._check(picked)
        jobs = [job for job in picked if job.work is not None and not job.work.is_ended]
        if jobs:
            self._breakdown.note(self._run(jobs))
            with self._lock:
                self._scheduler.charge(jobs, self._clock() - started)
            for job in jobs:
                if job.work is None or job.work.is_ended:
                    self._end(job)

    def _check(self, jobs: Sequence[Job]) -> None:
        for job in jobs:
            if job.work is not None:
                job.work.check()
                if job.work.is_ended:
                    self._end(job)

    def _begin(self, job: Job) -> None:
        wrong = self._wrong_model(job.request.model)
        if wrong is not None:
            self._end(job, wrong)
            return
        try:
            job.work = self._engine.begin(
                job.request,
                is_cancelled=lambda: job.is_cancelled,
                arrived_s=job.arrived_s,
                emit=job.post_delta,
            )
        except Exception as error:
            self._breakdown.note([error])
            self._end(job, _failure(error))

    def _run(self, jobs: list[Job]) -> list[Exception]:
        """One model pass; what went wrong in it."""
        self._metrics.batched_forwards.inc(len(jobs) > 1)
        try:
            self._engine.run([job.work for job in jobs])
        except Exception as error:
            log_without_text(error)
            for job in jobs:
                job.work = None
            return [error]
        return [job.work.error for job in jobs if job.work is not None and job.work.error]

    def _end(self, job: Job, failure: Failure | None = None) -> None:
        with self._lock:
            self._scheduler.remove(job)
            self._on_change()
        work, job.work = job.work, None
        if failure is None and work is None:
            failure = INTERNAL_FAULT
        elif work is not None and work.error is not None:
            failure = _failure(work.error)
        if failure is not None:
            self._refuse(job, failure)
        elif work is not None and work.result is not None and job.claim():
            self._metrics.count_answer(work.result)
            job.post(work.result)
        # Behind the answer, which must not wait for it.
        self._heap.note_end()


def _failure(error: Exception) -> Failure:
    if isinstance(error, EngineError):
        return Failure(500, str(error), "error")
    log_without_text(error)
    return INTERNAL_FAULT
