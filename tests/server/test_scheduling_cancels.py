"""A thousand random cancels under the real scheduler and a real model, in one thread.

Without threads every moment can be chosen: before a request is begun, while it is paused, between
its forwards, and in the middle of one, its own or another's.
"""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from engine.config import EngineConfig
from engine.decoding.loop import Run
from engine.engine import Engine
from engine.messages.completion import MODES, Completion, CompletionRequest
from engine.server.engine_thread import EngineThread
from engine.server.job import Failure, Job
from engine.server.metrics import Metrics
from engine.server.scheduler import QueueLimits, Scheduler
from engine.server.turns import Turns
from tests.models import checkpoints
from tests.server.scheduling import SameThreadLoop, last_events
from tests.tiny_model import language

NUM_CANCELS = 1000
DOCUMENTS = 6


@dataclass
class Workplace:
    """Scheduler, turns and engine as EngineThread ties them; forwards are counted by request."""

    engine: Engine
    draw: random.Random
    scheduler: Scheduler = field(default_factory=lambda: Scheduler(QueueLimits(max_active=4)))
    jobs: list[Job] = field(default_factory=list)
    begun: dict[int, Job] = field(default_factory=dict)
    forwards_after_cancel: Counter[Job] = field(default_factory=Counter)
    num_forwards: Counter[Job] = field(default_factory=Counter)
    num_cancels: int = 0
    moments: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.turns = Turns(
            self,  # type: ignore[arg-type]
            self.scheduler,
            threading.Condition(),
            metrics=Metrics(),
            clock=time.monotonic,
            refuse=lambda job, failure: job.post(failure) if job.claim() else None,
            wrong_model=lambda name: None,
            on_change=lambda: None,
        )

    # The engine, as the turns see it.

    @property
    def max_batch_tokens(self) -> int:
        return self.engine.max_batch_tokens

    def begin(self, request: CompletionRequest, **how: Any) -> Run[Any, Completion]:
        work = self.engine.begin(request, **how)
        self.begun[id(work)] = next(job for job in self.jobs if job.request is request)
        return work

    def run(self, runs: Sequence[Run[Any, Any]], /) -> None:
        jobs = [self.begun[id(work)] for work in runs]
        if self.draw.random() < 0.2:
            # A key is pressed while the forward runs.
            self.cancel("in a forward", self.draw.choice([*jobs, *self.scheduler.active]))
        self.engine.run(runs)
        for job in jobs:
            self.num_forwards[job] += 1
            self.forwards_after_cancel[job] += job.is_cancelled

    # What users do.

    def submit(self) -> None:
        draw = self.draw
        text = next(iter(language.documents(draw.randrange(5), held_out=True))).text
        cut = draw.randrange(1, 110)
        request = CompletionRequest(
            prompt=text[:cut],
            suffix=draw.choice(["", "", text[cut + 5 :]]),
            mode=draw.choice(MODES),  # type: ignore[arg-type]
            max_tokens=draw.randrange(1, 24),
            n=draw.choice([1, 1, 1, 2]),
            stream=draw.random() < 0.3,
            document=f"d{draw.randrange(DOCUMENTS)}" if draw.random() < 0.9 else None,
            client=draw.choice(["a", "b", "c"]),
            priority=draw.choice(["interactive", "interactive", "speculative"]),  # type: ignore[arg-type]
        )
        job = Job(request, time.monotonic(), SameThreadLoop())  # type: ignore[arg-type]
        self.jobs.append(job)
        admission = self.scheduler.admit(job)
        self.num_cancels += len(admission.superseded)
        for other in [*admission.superseded, *admission.dropped]:
            if other.work is None and other.claim():
                other.post(Failure(0, "gone", "gone"))
        if not admission.is_admitted:
            self.jobs.remove(job)

    def cancel(self, moment: str, job: Job) -> None:
        """As EngineThread.cancel does."""
        if job.is_cancelled or not (self.scheduler.is_waiting(job) or job.work is not None):
            return
        job.is_cancelled = True
        self.num_cancels += 1
        self.moments[moment] += 1
        if self.scheduler.is_waiting(job):
            self.scheduler.remove(job)
            job.claim()
            job.post(Failure(0, "gone", "gone"))

    def cancel_any(self) -> None:
        if self.jobs:
            job = self.draw.choice(self.jobs[-8:])
            moment = "waiting" if job.work is None else "between forwards"
            self.cancel(moment, job)

    def step(self) -> None:
        actions: list[Callable[[], None]] = [self.submit, self.cancel_any, self.turns.take_one]
        self.draw.choices(actions, [2, 1, 6])[0]()
        self.engine.prefix_cache.check_integrity(num_taken=len(self.scheduler.active))


@pytest.mark.parametrize("which", ["tiny", "drafting"])
def test_a_thousand_cancels(
    which: str, tiny_config: EngineConfig, tmp_path_factory: pytest.TempPathFactory
) -> None:
    config = replace(tiny_config, prefill_chunk_tokens=16)
    if which == "drafting":
        folder = checkpoints.write_qwen(tmp_path_factory.mktemp("drafting"))
        checkpoints.write_diffusion_adapter(folder / "diffusion_adapter")
        config = replace(config, model=str(folder))
    workplace = Workplace(Engine.load(config), random.Random(f"cancels {which}"))
    engine = workplace.engine
    for _ in range(30 * NUM_CANCELS):
        if workplace.num_cancels < NUM_CANCELS:
            workplace.step()
        else:
            workplace.turns.take_one()
    assert workplace.num_cancels >= NUM_CANCELS and not workplace.scheduler.has_work
    engine.prefix_cache.check_integrity()
    assert max(workplace.forwards_after_cancel.values()) <= 1
    assert len(workplace.moments) == 3 and min(workplace.moments.values()) > 10
    # Everybody got exactly one answer, also those that nobody waited for any more.
    endings: Counter[str] = Counter()
    for job in workplace.jobs:
        (event,) = last_events(job)
        assert not isinstance(event, Failure) or event.code == "gone"
        if isinstance(event, Completion):
            endings[event.choices[0].finish_reason] += 1
    assert endings["cancelled"] > 50 and endings["stop"] + endings["length"] > 50
    assert max(workplace.num_forwards.values()) > 5
    assert_kept_keys_are_good(engine, config)


def assert_kept_keys_are_good(engine: Engine, config: EngineConfig) -> None:
    """After all that, each document's kept KV gives the answer that a cold start gives."""
    cold, kept = Engine.load(config), 0
    assert set(engine.prefix_cache.documents) == {f"d{at}" for at in range(DOCUMENTS)}
    for document in engine.prefix_cache.documents:
        for seed in range(5):
            text = next(iter(language.documents(seed, held_out=True))).text
            request = CompletionRequest(prompt=text[:70], mode="ar", max_tokens=4)
            found = engine.complete(replace(request, document=document))
            assert found.choices == cold.complete(request).choices
            kept += found.facts.cached_tokens
    assert kept > 0


async def test_many_documents_of_many_clients_are_all_answered(tiny_config: EngineConfig) -> None:
    """The real thread: in 64 documents of 16 clients three keys each are pressed at once."""
    engine, may_load = Engine.load(tiny_config), threading.Event()
    metrics = Metrics()

    def load(report: object) -> Engine:
        # All keys are pressed before the first answer.
        assert may_load.wait(60.0)
        return engine

    thread = EngineThread(load, model_names=("tiny",), metrics=metrics)
    thread.start()
    text = next(iter(language.documents(1, held_out=True))).text
    jobs = [
        thread.submit(
            CompletionRequest(
                prompt=text[: 30 + keystroke],
                max_tokens=6,
                document=f"d{at}",
                client=f"c{at % 16}",
                priority="speculative" if at % 8 == 7 else "interactive",
            ),
            time.monotonic(),
        )
        for keystroke in range(3)
        for at in range(64)
    ]
    may_load.set()
    reasons = []
    for job in jobs:
        event = await job.events.get()
        assert isinstance(event, Completion)
        reasons.append(event.choices[0].finish_reason)
        assert job.events.empty()
    # The last keystroke of each document is answered, the earlier ones gave way.
    assert "cancelled" not in reasons[128:]
    assert b"nemodiff_superseded_total 128.0" in metrics.render()
    thread.stop()
    assert thread.join(60.0)
    engine.prefix_cache.check_integrity()
