"""Metrics: the engine's counters and histograms for Prometheus, in a registry of their own.

Filled by `engine_thread.py` and `app.py`, read by GET /metrics. Numbers only: labels come from
fixed vocabularies, never from a request.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from engine.messages.completion import PRIORITIES, Completion
from engine.server.job import EngineAnswer, outcome

_MS_BUCKETS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 30000, 60000)


class Metrics:
    """One process's numbers. Every method may be called from any thread."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        registry = self._registry
        self._requests = Counter(
            "nemodiff_requests",
            "Requests that reached the queue, by how they ended.",
            ["outcome", "route", "mode"],
            registry=registry,
        )
        self._responses = Counter(
            "nemodiff_http_responses", "HTTP answers by status.", ["status"], registry=registry
        )
        self._forwards = Counter(
            "nemodiff_forwards", "Model passes, cancelled requests included.", registry=registry
        )
        self._read_forwards: Callable[[], int] = lambda: 0
        self._num_forwards_seen = 0
        self._scrape = threading.Lock()
        self._tokens = Counter("nemodiff_tokens", "Tokens by kind.", ["kind"], registry=registry)
        self._stage_ms = Histogram(
            "nemodiff_stage_ms",
            "Milliseconds by stage of a request.",
            ["stage"],
            buckets=_MS_BUCKETS,
            registry=registry,
        )
        self.queue_depth = Gauge(
            "nemodiff_queue_depth",
            "Requests waiting for the engine.",
            ["priority"],
            registry=registry,
        )
        for priority in PRIORITIES:
            self.queue_depth.labels(priority).set(0)
        self.superseded = Counter(
            "nemodiff_superseded", "Requests that a newer one took the place of.", registry=registry
        )
        self.preemptions = Counter(
            "nemodiff_preemptions",
            "Speculative work paused for interactive work.",
            registry=registry,
        )
        self.batched_forwards = Counter(
            "nemodiff_batched_forwards",
            "Model passes that did the forwards of several requests.",
            registry=registry,
        )
        self.is_running = Gauge(
            "nemodiff_running", "1 while the engine works on a request.", registry=registry
        )
        self.load_seconds = Gauge(
            "nemodiff_load_seconds", "How long the model took to load.", registry=registry
        )

    def count_answer(self, answer: EngineAnswer) -> None:
        """An answer of the engine, whatever its finish reason; forwards are counted apart."""
        facts = answer.facts
        self._requests.labels(outcome(answer), facts.route, facts.mode).inc()
        if isinstance(answer, Completion):
            self._tokens.labels("prompt").inc(answer.prompt_tokens)
        self._tokens.labels("cached").inc(facts.cached_tokens)
        self._tokens.labels("completion").inc(facts.tokens)
        for stage, duration_ms in facts.timings_ms.items():
            self.observe_ms(stage, duration_ms)

    def count_unanswered(self, outcome: str) -> None:
        """A request that got no answer: ``cancelled``, ``error``, ``overload``, ``draining``..."""
        self._requests.labels(outcome, "none", "none").inc()

    def follow_forwards(self, read_num_forwards: Callable[[], int]) -> None:
        """From now on each scrape counts the passes made since, also of a request that still runs.

        read_num_forwards: a number that only grows; called from whatever thread scrapes.
        """
        with self._scrape:
            self._read_forwards = read_num_forwards
            self._num_forwards_seen = read_num_forwards()

    def count_response(self, status: int) -> None:
        self._responses.labels(str(status)).inc()

    def observe_ms(self, stage: str, duration_ms: float) -> None:
        self._stage_ms.labels(stage).observe(duration_ms)

    def render(self) -> bytes:
        """The exposition in Prometheus' text format 0.0.4, UTF-8."""
        with self._scrape:
            num_forwards = self._read_forwards()
            # A counter must never fall, whatever is read.
            self._forwards.inc(max(0, num_forwards - self._num_forwards_seen))
            self._num_forwards_seen = max(num_forwards, self._num_forwards_seen)
            return generate_latest(self._registry)
