"""EngineThread: the one thread that owns the model, and the queue before it.

`app.py` submits requests from the event loop; `serve.py` starts and stops the thread. Nothing
else in the process touches the model. Knows nothing of HTTP but status numbers.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, Protocol

from engine.errors import EngineError
from engine.messages.completion import Completion, CompletionRequest
from engine.server.faults import (
    INTERNAL_FAULT,
    STOPPING,
    load_failure_sentence,
    log_without_text,
)
from engine.server.job import Failure, Job, expired_completion
from engine.server.metrics import Metrics

logger = logging.getLogger(__name__)

State = Literal["loading", "ready", "failed", "stopping"]
Report = Callable[[str, float | None], None]


class CompletionEngine(Protocol):
    """A loaded model as this thread sees it; every method is called on the engine thread only."""

    num_forwards: int
    """Grows by one with each model pass; the one thing that other threads may read."""

    def complete(
        self,
        request: CompletionRequest,
        *,
        is_cancelled: Callable[[], bool],
        arrived_s: float,
        emit: Callable[[int, str], None],
    ) -> Completion:
        """Answer one request; looks at `is_cancelled` and the deadline between two forwards.

        arrived_s: `time.monotonic` of the arrival. emit(choice_index, new_text): pieces in order,
        which joined must be a beginning of that choice's final text. Raises EngineError.
        """

    def describe(self) -> dict[str, object]:
        """Model, device, dtype, threads, reasons and notes, as JSON values."""


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
    """Loads an engine with `load`, then answers jobs one at a time, oldest first.

    model_names: names under which the configured model may be asked for, the first of which is
    shown until the engine tells its own. on_failed is called (on the engine thread) when the
    model cannot be loaded; `status.failure` then holds the sentence for the user.
    """

    def __init__(
        self,
        load: Callable[[Report], CompletionEngine],
        *,
        model_names: Sequence[str],
        metrics: Metrics,
        on_failed: Callable[[], None] = lambda: None,
        max_queued: int = 64,
    ) -> None:
        self.status = EngineStatus("loading", "starting")
        self.description: dict[str, object] = {}
        self.model_names = tuple(model_names)
        self._load = load
        self._metrics = metrics
        self._on_failed = on_failed
        self._max_queued = max_queued
        self._queue: deque[Job] = deque()
        self._running: Job | None = None
        self._is_stopping = False
        self._changed = threading.Condition()
        # A daemon, because a load in native code cannot be interrupted when the process must end.
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Cancel the running job, refuse the queued ones and every later one; returns at once."""
        with self._changed:
            self._is_stopping = True
            if self.status.state != "failed":
                self.status = replace(self.status, state="stopping")
            abandoned = list(self._queue)
            self._queue.clear()
            if self._running is not None:
                self._running.is_cancelled = True
            self._changed.notify_all()
        for job in abandoned:
            self._refuse(job, STOPPING)

    def join(self, timeout_s: float) -> bool:
        """Wait for the thread's end; False when it still runs. True if it was never started."""
        if self._thread.ident is None:
            return True
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def submit(self, request: CompletionRequest, arrived_s: float) -> Job:
        """Queue `request`; call on the event loop. Raises SubmitError.

        A job that is still queued when its deadline passes is answered with an empty draft.
        """
        loop = asyncio.get_running_loop()
        job = Job(request, arrived_s, loop)
        with self._changed:
            refusal = self._why_not(request)
            if refusal is not None:
                self._metrics.count_unanswered(refusal.code)
                raise SubmitError(refusal)
            self._queue.append(job)
            self._metrics.queue_depth.set(len(self._queue))
            self._changed.notify_all()
        if request.deadline_ms is not None:
            left_s = arrived_s + request.deadline_ms / 1000.0 - time.monotonic()
            job.expiry = loop.call_later(max(0.0, left_s), self._expire, job)
        return job

    def cancel(self, job: Job) -> None:
        """Nobody waits for `job` any more. A queued one never reaches the engine.

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
        return Failure(
            404,
            f"model: this engine has {self.model_names[0]!r} loaded; ask for that, or leave "
            "model out.",
            "model_not_found",
            "model",
        )

    def _why_not(self, request: CompletionRequest) -> Failure | None:
        if self.status.failure is not None:
            return Failure(503, self.status.failure, "load_failed")
        if self._is_stopping:
            return STOPPING
        # Until the model is loaded it may have names that are not known yet.
        wrong = self.wrong_model(request.model) if self.status.state == "ready" else None
        if wrong is not None:
            return wrong
        if len(self._queue) >= self._max_queued:
            return Failure(
                503,
                f"The engine is busy: {len(self._queue)} requests are waiting; try again later.",
                "overload",
            )
        return None

    def _withdraw(self, job: Job) -> bool:
        with self._changed:
            if job not in self._queue:
                return False
            self._queue.remove(job)
            self._metrics.queue_depth.set(len(self._queue))
            return True

    def _expire(self, job: Job) -> None:
        if not self._withdraw(job):
            return
        state = self.status
        doing = f"still loading ({state.phase})" if state.state == "loading" else "busy"
        completion = expired_completion(
            job, self.model_names[0], f"The deadline passed while the engine was {doing}."
        )
        self._metrics.count_completion(completion)
        job.post(completion)

    def _refuse(self, job: Job, failure: Failure) -> None:
        self._metrics.count_unanswered(failure.code)
        job.post(failure)

    # Everything below runs on the engine thread.

    def _run(self) -> None:
        started_s = time.monotonic()
        try:
            engine = self._load(self._report)
            self.description = engine.describe()
        except Exception as error:
            self._fail(error)
            return
        self._metrics.load_seconds.set(time.monotonic() - started_s)
        self._metrics.follow_forwards(lambda: engine.num_forwards)
        self._become_ready()
        while (job := self._next()) is not None:
            self._answer(engine, job)
            with self._changed:
                self._running = None
            self._metrics.is_running.set(0)

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
            if not self._is_stopping:
                self.status = EngineStatus("ready", "ready", 1.0)
        logger.info("Ready: %s", self.model_names[0])

    def _fail(self, error: Exception) -> None:
        sentence = load_failure_sentence(error)
        with self._changed:
            self.status = EngineStatus("failed", "failed", None, sentence)
            abandoned = list(self._queue)
            self._queue.clear()
            self._metrics.queue_depth.set(0)
        for job in abandoned:
            self._refuse(job, Failure(503, sentence, "load_failed"))
        self._on_failed()

    def _next(self) -> Job | None:
        with self._changed:
            while not self._queue and not self._is_stopping:
                self._changed.wait()
            if self._is_stopping:
                return None
            self._running = self._queue.popleft()
            self._metrics.queue_depth.set(len(self._queue))
            return self._running

    def _answer(self, engine: CompletionEngine, job: Job) -> None:
        if job.is_cancelled:
            self._metrics.count_unanswered("cancelled")
            return
        wrong = self.wrong_model(job.request.model)
        if wrong is not None:
            self._refuse(job, wrong)
            return
        self._metrics.is_running.set(1)
        try:
            completion = engine.complete(
                job.request,
                is_cancelled=lambda: job.is_cancelled,
                arrived_s=job.arrived_s,
                emit=job.post_delta,
            )
        except EngineError as error:
            self._refuse(job, Failure(500, str(error), "error"))
        except Exception as error:
            log_without_text(error)
            self._refuse(job, INTERNAL_FAULT)
        else:
            self._metrics.count_completion(completion)
            job.post(completion)
