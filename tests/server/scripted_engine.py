"""ScriptedEngine: a CompletionEngine without a model, whose forwards the test lets happen.

Answers are the prompt reversed, one piece per forward. Used in the test process and, through
`serve_scripted.py`, in engine processes of their own. What is asked of /v1/fill and /v1/repair
takes one forward and is answered as if there had been no time.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence

from engine.errors import EngineError
from engine.messages.completion import Choice, Completion, CompletionRequest, Facts
from engine.server.job import EngineAnswer, EngineRequest, Job, empty_answer

WAIT_S = 60.0
"""How long a test waits for something that must happen; never part of what is tested."""

NUM_PIECES = 5

ENGINE_ERROR = "!engine-error "
FAULT = "!fault "
DEVICE_FAULT = "!device-fault "
"""Fails as a GPU does: with torch's own error, in the pass."""
ENDLESS = "!endless "
WITHDRAW = "!withdraw "


class ScriptedEngine:
    """With `gated`, each forward announces itself in `entered` and waits for `allow`.

    Each forward notes in `passes` the prompts it was for. batch_tokens: what each request's
    forward counts as joinable (0 = every pass is for one request).
    """

    def __init__(
        self, *, model: str = "scripted-0.1b", gated: bool = False, batch_tokens: int = 0
    ) -> None:
        self.num_forwards = 0
        self.max_batch_tokens = 4
        self.batch_tokens = batch_tokens
        self.model = model
        self.requests: list[CompletionRequest] = []
        self.passes: list[tuple[str, ...]] = []
        self.entered: queue.Queue[int] = queue.Queue()
        self.finished: queue.Queue[EngineAnswer | BaseException] = queue.Queue()
        self._permits = threading.Semaphore(0)
        self._is_open = threading.Event()
        if not gated:
            self._is_open.set()

    def allow(self, num_forwards: int) -> None:
        self._permits.release(num_forwards)

    def open_gate(self) -> None:
        """From now on every forward happens at once."""
        self._is_open.set()
        self._permits.release()

    def describe(self) -> dict[str, object]:
        return {"model": self.model, "device": "cpu", "reasons": ["scripted"], "num_threads": 1}

    def begin(
        self,
        request: EngineRequest,
        *,
        is_cancelled: Callable[[], bool],
        arrived_s: float,
        emit: Callable[[int, str], None],
    ) -> ScriptedWork:
        if not isinstance(request, CompletionRequest):
            return ScriptedWork(self, request, iter(["one forward"]), is_cancelled, arrived_s, emit)
        self.requests.append(request)
        if request.prompt.startswith(ENGINE_ERROR):
            error = EngineError("The prompt does not fit into this model; send less text.")
            self.finished.put(error)
            raise error
        pieces = iter(self._pieces(request.prompt))
        return ScriptedWork(self, request, pieces, is_cancelled, arrived_s, emit)

    def run(self, runs: Sequence[ScriptedWork], /) -> None:
        for work in runs:
            work.fail_if_asked_to()
        works = [work for work in runs if not work.is_ended]
        if works:
            self.passes.append(tuple(work.name for work in works))
            self._forward()
        for work in works:
            work.go_on()

    def _pieces(self, prompt: str) -> list[str] | _Endless:
        if prompt.startswith(ENDLESS):
            return _Endless()
        text = prompt[::-1]
        size = -(-len(text) // NUM_PIECES) or 1
        return [text[at : at + size] for at in range(0, size * NUM_PIECES, size)]

    def _forward(self) -> None:
        self.entered.put(self.num_forwards)
        if not self._is_open.is_set():
            assert self._permits.acquire(timeout=WAIT_S), "the test never allowed this forward"
        self.num_forwards += 1

    def answer(self, request: CompletionRequest, text: str, why: str, forwards: int) -> Completion:
        return Completion(
            id="cmpl-scripted",
            created=1,
            model=self.model,
            choices=tuple(Choice(i, text, why) for i in range(request.n)),  # type: ignore[arg-type]
            prompt_tokens=len(request.prompt),
            completion_tokens=len(text),
            facts=Facts(
                mode="ar" if request.mode == "auto" else request.mode,
                route="fim" if request.suffix else "left_to_right",
                route_reason="scripted",
                forwards=forwards,
                prefill_forwards=0,
                tokens=len(text),
                score=-0.5,
                num_near_ties=0,
                cached_tokens=0,
                timings_ms={"queue": 0.5, "prefill": 1.5, "decode": 2.5},
            ),
        )


class ScriptedWork:
    """A request in work, whose forwards are pieces of its answer."""

    def __init__(
        self,
        engine: ScriptedEngine,
        request: EngineRequest,
        pieces: Iterator[str],
        is_cancelled: Callable[[], bool],
        arrived_s: float,
        emit: Callable[[int, str], None],
    ) -> None:
        self.result: EngineAnswer | None = None
        self.error: Exception | None = None
        self._engine, self._request, self._pieces = engine, request, pieces
        self._is_cancelled, self._arrived_s, self._emit = is_cancelled, arrived_s, emit
        self._next = next(pieces, None)
        self._text, self._num_forwards = "", 0

    @property
    def name(self) -> str:
        return getattr(self._request, "prompt", type(self._request).__name__)

    @property
    def is_ended(self) -> bool:
        return self.result is not None or self.error is not None

    @property
    def num_joinable_tokens(self) -> int:
        return self._engine.batch_tokens

    def check(self) -> None:
        deadline_ms = self._request.deadline_ms
        if self.is_ended:
            return
        if self._is_cancelled():
            self._end("cancelled")
        elif deadline_ms is not None and (
            time.monotonic() > self._arrived_s + deadline_ms / 1000.0
        ):
            self._end("deadline")

    def fail_if_asked_to(self) -> None:
        if self.name.startswith(FAULT):
            self.error = KeyError(self.name)
        elif self.name.startswith(DEVICE_FAULT):
            self.error = RuntimeError("CUDA error: device-side assert triggered")
        if self.error is not None:
            self._engine.finished.put(self.error)

    def go_on(self) -> None:
        piece, self._next = self._next, next(self._pieces, None)
        assert piece is not None
        self._num_forwards += 1
        self._text += piece
        for index in range(getattr(self._request, "n", 1)):
            self._emit(index, piece)
        if self._next is None:
            self._end("stop")

    def _end(self, why: str) -> None:
        request = self._request
        if not isinstance(request, CompletionRequest):
            job = Job(request, self._arrived_s, None)  # type: ignore[arg-type]
            self.result = empty_answer(job, self._engine.model, "deadline", "Scripted.")
        else:
            text = self._text
            if request.prompt.startswith(WITHDRAW):
                text = text[:-1] + "#"
            self.result = self._engine.answer(request, text, why, self._num_forwards)
        self._engine.finished.put(self.result)


class _Endless:
    def __iter__(self) -> _Endless:
        return self

    def __next__(self) -> str:
        # Stands for the work of a forward, so that an endless request does not fill the memory.
        threading.Event().wait(0.001)
        return "x"
