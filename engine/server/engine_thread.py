"""EngineThread: the one thread that owns the model, and the way to it.

`app.py` submits requests from the event loop; `serve.py` starts and stops the thread. Nothing
else in the process touches the model. Which request has the next forward is the business of
`scheduler.py`, doing it that of `turns.py`. Knows nothing of HTTP but status numbers.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from engine.errors import EngineError
from engine.messages.completion import PRIORITIES, FinishReason
from engine.server import faults
from engine.server.job import EngineRequest, Failure, Job, empty_answer
from engine.server.metrics import Metrics
from engine.server.scheduler import QueueLimits, Scheduler
from engine.server.turns import CompletionEngine as CompletionEngine
from engine.server.turns import Turns

logger = logging.getLogger(__name__)

State = Literal["loading", "ready", "failed", "draining", "stopping"]
Report = Callable[[str, float | None], None]


@dataclass(frozen=True, slots=True)
class EngineStatus:
    """What /health tells. fraction: of the load phase, 0 to 1, or None when unknown."""

    state: State
    phase: str
    fraction: float | None = None
    failure: str | None = None


class SubmitError(Exception):
    """The request was not queued; `failure` says why."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


class EngineThread:
    """Loads an engine with `load`, then answers jobs, between whose forwards it goes to and fro.

    model_names: names under which the configured model may be asked for, the first of which is
    shown until the engine tells its own. on_failed is called (on the engine thread) when the
    model cannot be loaded, or fails for good (`is_broken`); `status.failure` then holds the
    sentence for the user. max_queued: how many requests may wait; more are refused, and speculative
    ones are dropped for others. clock: what tells how long a turn took, by which the engine is
    shared.
    """

    def __init__(
        self,
        load: Callable[[Report], CompletionEngine],
        *,
        model_names: Sequence[str],
        metrics: Metrics,
        on_failed: Callable[[], None] = lambda: None,
        max_queued: int = 64,
        limits: QueueLimits | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.status = EngineStatus("loading", "starting")
        self.is_broken = False
        self.description: dict[str, object] = {}
        self.model_names = tuple(model_names)
        self._load = load
        self._metrics = metrics
        self._on_failed = on_failed
        self._scheduler = Scheduler(limits or QueueLimits(max_queued=max_queued))
        self._clock = clock
        self._is_draining = False
        self._is_stopping = False
        self._idle_since_s: float | None = None
        self._changed = threading.Condition()
        # A daemon, because a load in native code cannot be interrupted when the process must end.
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)

    @property
    def idle_since_s(self) -> float | None:
        """`time.monotonic` since when nothing waits and nothing is in work; None while something
        does, and until the model is loaded."""
        return self._idle_since_s

    def start(self) -> None:
        self._thread.start()

    def drain(self) -> None:
        """Finish what waits and what is in work, refuse everything from now on. When
        `idle_since_s` is not None it is done; a load that still runs goes on for those who wait."""
        with self._changed:
            self._is_draining = True
            if self.status.state in ("loading", "ready"):
                self.status = replace(self.status, state="draining")

    def stop(self) -> None:
        """Cancel the jobs in work, refuse the waiting ones and every later one; returns at once."""
        with self._changed:
            self._is_stopping = True
            if self.status.state != "failed":
                self.status = replace(self.status, state="stopping")
            abandoned = self._scheduler.take_waiting()
            for job in self._scheduler.active:
                job.is_cancelled = True
            self._note_change()
        for job in abandoned:
            self._refuse(job, faults.STOPPING)

    def join(self, timeout_s: float) -> bool:
        """Wait for the thread's end; False when it still runs. True if it was never started."""
        if self._thread.ident is None:
            return True
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def submit(self, request: EngineRequest, arrived_s: float) -> Job:
        """Queue `request`; call on the event loop. Raises SubmitError.

        A job that still waits when its deadline passes is answered with an empty draft. One that
        a newer request supersedes, or that is speculative where there is no room, is answered as
        cancelled, with nothing.
        """
        loop = asyncio.get_running_loop()
        job = Job(request, arrived_s, loop)
        with self._changed:
            refusal = self._why_not(request)
            admission = None if refusal else self._scheduler.admit(job)
            num_waiting = self._scheduler.num_waiting()
            self._note_change()
        if admission is not None:
            for other in admission.superseded:
                self._supersede(other)
            for other in admission.dropped:
                self._answer_empty(other, "cancelled", "Speculative work gave way: no room.")
            if not admission.is_admitted:
                refusal = faults.overload(num_waiting)
        if refusal is not None:
            self._metrics.count_unanswered(refusal.code)
            raise SubmitError(refusal)
        if request.deadline_ms is not None:
            left_s = arrived_s + request.deadline_ms / 1000.0 - time.monotonic()
            job.expiry = loop.call_later(max(0.0, left_s), self._expire, job)
        return job

    def cancel(self, job: Job) -> None:
        """Nobody waits for `job` any more. A waiting one never reaches the engine.

        Call on the event loop. Cancelling twice, late or after the end does nothing.
        """
        job.is_cancelled = True
        if job.expiry is not None:
            job.expiry.cancel()
        if self._withdraw(job):
            self._metrics.count_unanswered("cancelled")

    def wrong_model(self, name: str | None) -> Failure | None:
        """Why a request for model `name` cannot be served; None when it can."""
        if name is None or name in self.model_names:
            return None
        return faults.wrong_model(self.model_names[0])

    def _why_not(self, request: EngineRequest) -> Failure | None:
        if self.status.failure is not None:
            return Failure(503, self.status.failure, "load_failed")
        if self._is_stopping:
            return faults.STOPPING
        if self._is_draining:
            return faults.DRAINING
        # Until the model is loaded it may have names that are not known yet.
        return self.wrong_model(request.model) if self.status.state == "ready" else None

    def _withdraw(self, job: Job) -> bool:
        with self._changed:
            if not self._scheduler.is_waiting(job):
                return False
            self._scheduler.remove(job)
            self._note_change()
            return True

    def _supersede(self, job: Job) -> None:
        """`job` was cancelled by the scheduler for a newer one."""
        self._metrics.superseded.inc()
        # A stream that has begun cannot be taken back: the engine ends it within a forward.
        if job.work is None or not job.is_streamed:
            self._answer_empty(job, "cancelled", "Superseded by a newer request.")

    def _expire(self, job: Job) -> None:
        if self._withdraw(job):
            state = self.status
            doing = f"still loading ({state.phase})" if not self.description else "busy"
            reason = f"The deadline passed while the engine was {doing}."
            self._answer_empty(job, "deadline", reason)

    def _answer_empty(self, job: Job, why: FinishReason, reason: str) -> None:
        if job.expiry is not None:
            job.expiry.cancel()
        answer = empty_answer(job, self.model_names[0], why, reason)
        if job.claim():
            self._metrics.count_answer(answer)
            job.post(answer)

    def _refuse(self, job: Job, failure: Failure) -> None:
        if job.claim():
            self._metrics.count_unanswered(failure.code)
            job.post(failure)

    def _note_change(self) -> None:
        """What the queue's state shows to others; call with the lock held."""
        scheduler, metrics = self._scheduler, self._metrics
        for priority in PRIORITIES:
            metrics.queue_depth.labels(priority).set(scheduler.num_waiting(priority))
        metrics.is_running.set(len(scheduler.active) > 0)
        metrics.preemptions.inc(scheduler.take_preemptions())
        if scheduler.has_work or not self.description:
            self._idle_since_s = None
        elif self._idle_since_s is None:
            self._idle_since_s = time.monotonic()
        self._changed.notify_all()

    # Everything below runs on the engine thread.

    def _run(self) -> None:
        started_s = time.monotonic()
        try:
            engine = self._load(self._report)
            self.description = engine.describe()
        except Exception as error:
            self._fail(faults.load_failure_sentence(error), "load_failed")
            return
        self._metrics.load_seconds.set(time.monotonic() - started_s)
        self._metrics.follow_forwards(lambda: engine.num_forwards)
        self._become_ready()
        turns = Turns(
            engine,
            self._scheduler,
            self._changed,
            metrics=self._metrics,
            clock=self._clock,
            refuse=self._refuse,
            wrong_model=self.wrong_model,
            on_change=self._note_change,
        )
        while self._wait_for_work():
            why = turns.take_one()
            if why is not None:
                self.is_broken = True
                self._fail(why, "broken")
                return

    def _report(self, phase: str, fraction: float | None) -> None:
        if self._is_stopping:
            # The only place where a load can be left early: between two of its steps.
            raise EngineError("The engine was stopped while it loaded.")
        if self.status.phase != phase:
            logger.info("Loading: %s", phase)
        with self._changed:
            self.status = replace(self.status, phase=phase, fraction=fraction)

    def _become_ready(self) -> None:
        own = self.description.get("model")
        names = [str(own)] if own else []
        self.model_names = tuple(dict.fromkeys((*names, *self.model_names)))
        with self._changed:
            state: State = "draining" if self._is_draining else "ready"
            if not self._is_stopping:
                self.status = EngineStatus(state, "ready", 1.0)
            self._note_change()
        logger.info("Ready: %s", self.model_names[0])

    def _fail(self, sentence: str, code: str) -> None:
        with self._changed:
            self.status = EngineStatus("failed", "failed", None, sentence)
            abandoned = [*self._scheduler.take_waiting(), *self._scheduler.active]
            for job in self._scheduler.active:
                self._scheduler.remove(job)
            self._note_change()
        for job in abandoned:
            self._refuse(job, Failure(503, sentence, code))
        self._on_failed()

    def _wait_for_work(self) -> bool:
        """False when the thread is to end."""
        with self._changed:
            while not self._scheduler.has_work and not self._is_stopping:
                self._changed.wait()
            return self._scheduler.has_work
