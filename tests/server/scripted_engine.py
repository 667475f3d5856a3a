"""ScriptedEngine: a CompletionEngine without a model, whose forwards the test lets happen.

Answers are the prompt reversed, one piece per forward. Used in the test process and, through
`serve_scripted.py`, in engine processes of their own.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable

from engine.errors import EngineError
from engine.messages.completion import Choice, Completion, CompletionRequest, Facts

WAIT_S = 60.0
"""How long a test waits for something that must happen; never part of what is tested."""

NUM_PIECES = 5

ENGINE_ERROR = "!engine-error "
FAULT = "!fault "
ENDLESS = "!endless "
WITHDRAW = "!withdraw "


class ScriptedEngine:
    """With `gated`, each forward announces itself in `entered` and waits for `allow`."""

    def __init__(self, *, model: str = "scripted-0.1b", gated: bool = False) -> None:
        self.num_forwards = 0
        self.model = model
        self.requests: list[CompletionRequest] = []
        self.entered: queue.Queue[int] = queue.Queue()
        self.finished: queue.Queue[Completion | BaseException] = queue.Queue()
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

    def complete(
        self,
        request: CompletionRequest,
        *,
        is_cancelled: Callable[[], bool],
        arrived_s: float,
        emit: Callable[[int, str], None],
    ) -> Completion:
        self.requests.append(request)
        try:
            completion = self._complete(request, is_cancelled, arrived_s, emit)
        except BaseException as error:
            self.finished.put(error)
            raise
        self.finished.put(completion)
        return completion

    def _complete(
        self,
        request: CompletionRequest,
        is_cancelled: Callable[[], bool],
        arrived_s: float,
        emit: Callable[[int, str], None],
    ) -> Completion:
        if request.prompt.startswith(ENGINE_ERROR):
            raise EngineError("The prompt does not fit into this model; send less text.")
        if request.prompt.startswith(FAULT):
            raise KeyError(request.prompt)
        before = self.num_forwards
        text, reason = "", "stop"
        for piece in self._pieces(request.prompt):
            if is_cancelled():
                reason = "cancelled"
                break
            if request.deadline_ms is not None and (
                time.monotonic() > arrived_s + request.deadline_ms / 1000.0
            ):
                reason = "deadline"
                break
            self._forward()
            text += piece
            for index in range(request.n):
                emit(index, piece)
        if request.prompt.startswith(WITHDRAW):
            text = text[:-1] + "#"
        return self._completion(request, text, reason, self.num_forwards - before)

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

    def _completion(
        self, request: CompletionRequest, text: str, reason: str, forwards: int
    ) -> Completion:
        return Completion(
            id="cmpl-scripted",
            created=1,
            model=self.model,
            choices=tuple(Choice(i, text, reason) for i in range(request.n)),  # type: ignore[arg-type]
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


class _Endless:
    def __iter__(self) -> _Endless:
        return self

    def __next__(self) -> str:
        # Stands for the work of a forward, so that an endless request does not fill the memory.
        threading.Event().wait(0.001)
        return "x"
