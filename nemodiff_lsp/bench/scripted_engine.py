"""ScriptedEngine: an engine without a model, with a fixed time per forward. Used by the benches.

Speaks the engine's HTTP interface on a Unix socket, so that the language server cannot tell it from
a real one. Counts what a real one would do: prefill of what is new in a document's prompt, then
forwards that each bring some tokens; a draft saves the forwards for what it has right. One forward
at a time, interactive requests first; a closed connection stops within one forward.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import json
import os
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from engine import __version__
from engine.messages.address import PROTOCOL_VERSION
from engine.messages.completion import Choice, Completion, CompletionRequest, Facts, FinishReason
from nemodiff_lsp.bench.oracle import Oracle
from nemodiff_lsp.bench.typist import common_prefix

MODEL = "scripted"
CHARS_PER_TOKEN = 3.5
TOKENS_PER_FORWARD = 2
PREFILL_TOKENS_PER_FORWARD = 64

_RANKS = {"interactive": 0, "speculative": 1}


@dataclass(frozen=True, slots=True)
class Speed:
    """forward_ms: of every forward, prefill or not; 0 = answers are there at once."""

    forward_ms: float = 30.0


class ScriptedEngine:
    """`app` is the HTTP interface; `num_forwards` counts all, of cancelled requests too."""

    def __init__(self, oracle: Oracle, speed: Speed) -> None:
        self._oracle, self._speed = oracle, speed
        self._turns = _Turns()
        self._prompts: dict[str, str] = {}
        self._ids = itertools.count(1)
        self.num_forwards = 0
        self.app = Starlette(
            routes=[
                Route("/health", self._health),
                Route("/metrics", self._metrics),
                Route("/v1/completions", self._completions, methods=["POST"]),
            ]
        )

    async def _health(self, _: Request) -> Response:
        return JSONResponse(
            {
                "state": "ready",
                "phase": "ready",
                "fraction": 1.0,
                "failure": None,
                "protocol": PROTOCOL_VERSION,
                "version": __version__,
                "pid": os.getpid(),
                "model_names": [MODEL],
                "engine": {"model": MODEL},
            }
        )

    async def _metrics(self, _: Request) -> Response:
        return PlainTextResponse(f"nemodiff_forwards_total {self.num_forwards}\n")

    async def _completions(self, http: Request) -> Response:
        arrived_s = time.monotonic()
        request = CompletionRequest.from_json(json.loads(await http.body()))
        if request.stream:
            return StreamingResponse(
                self._stream(request, arrived_s), media_type="text/event-stream"
            )
        work = asyncio.ensure_future(self._whole(request, arrived_s))
        gone = asyncio.ensure_future(_disconnect(http))
        try:
            await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
            return (
                JSONResponse(work.result().to_json()) if work.done() else Response(status_code=499)
            )
        finally:
            work.cancel()
            gone.cancel()

    async def _whole(self, request: CompletionRequest, arrived_s: float) -> Completion:
        steps = [step async for step in self._steps(request, arrived_s)]
        return steps[-1]

    async def _stream(self, request: CompletionRequest, arrived_s: float) -> AsyncIterator[bytes]:
        num_sent = 0
        body: dict[str, Any] = {}
        async for step in self._steps(request, arrived_s):
            body = step.to_json()
            for choice in body["choices"]:
                choice["text"] = choice["text"][num_sent:]
            num_sent = len(step.choices[0].text)
            delta = {name: body[name] for name in ("id", "object", "created", "model", "choices")}
            yield b"data: " + json.dumps(delta).encode() + b"\n\n"
        for choice in body["choices"]:
            choice["text"] = ""
        yield b"data: " + json.dumps(body).encode() + b"\n\ndata: [DONE]\n\n"

    async def _steps(
        self, request: CompletionRequest, arrived_s: float
    ) -> AsyncIterator[Completion]:
        """The answer as far as it is after each forward; the last one is the whole."""
        answer = _Answer(f"scripted-{next(self._ids)}", request, self._oracle)
        limit_s = arrived_s + (request.deadline_ms or 1e12) / 1000.0
        for _ in range(_num_prefills(request, self._prompts)):
            if time.monotonic() > limit_s:
                break
            await self._forward(request)
            answer.num_prefills += 1
        else:
            if request.document is not None:
                self._prompts[request.document] = request.prompt
            while answer.is_unfinished and time.monotonic() <= limit_s:
                await self._forward(request)
                answer.advance()
                if answer.is_unfinished:
                    yield answer.completion()
        yield answer.completion()

    async def _forward(self, request: CompletionRequest) -> None:
        async with self._turns.turn(_RANKS.get(request.priority, 0)):
            self.num_forwards += 1
            await asyncio.sleep(self._speed.forward_ms / 1000.0)


class _Answer:
    """One answer under way: its text is known, and each forward brings some more of it."""

    def __init__(self, answer_id: str, request: CompletionRequest, oracle: Oracle) -> None:
        self._id, self._request = answer_id, request
        self._text = oracle.continuation(request.prompt)
        self._num_chars = common_prefix(request.draft, self._text) if request.draft else 0
        self.num_prefills = 0
        self._num_forwards = 0

    @property
    def is_unfinished(self) -> bool:
        # The forward that finds the whole draft right is needed, too.
        return self._num_forwards == 0 or self._num_chars < len(self._text)

    def advance(self) -> None:
        self._num_forwards += 1
        self._num_chars += int(TOKENS_PER_FORWARD * CHARS_PER_TOKEN)

    def completion(self) -> Completion:
        reason: FinishReason = "deadline" if self.is_unfinished else "stop"
        text = self._text[: self._num_chars] if self._num_forwards else ""
        num_tokens = round(len(text) / CHARS_PER_TOKEN)
        return Completion(
            id=self._id,
            created=1,
            model=MODEL,
            choices=tuple(Choice(index, text, reason) for index in range(self._request.n)),
            prompt_tokens=round(len(self._request.prompt) / CHARS_PER_TOKEN),
            completion_tokens=num_tokens,
            facts=Facts(
                mode="quad_spec",
                route="fim" if self._request.suffix else "left_to_right",
                route_reason="Scripted.",
                forwards=self._num_forwards,
                prefill_forwards=self.num_prefills,
                tokens=num_tokens,
                score=-0.1,
                num_near_ties=0,
                cached_tokens=0,
                timings_ms={},
            ),
        )


class _Turns:
    """One holder at a time; the lowest rank first, then first come, first served."""

    def __init__(self) -> None:
        self._is_taken = False
        self._order = itertools.count()
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []

    @asynccontextmanager
    async def turn(self, rank: int) -> AsyncIterator[None]:
        if self._is_taken:
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            heapq.heappush(self._waiting, (rank, next(self._order), future))
            try:
                await future
            except asyncio.CancelledError:
                # The turn may have come at the very moment of the cancellation.
                if future.done() and not future.cancelled():
                    self._pass_on()
                raise
        self._is_taken = True
        try:
            yield
        finally:
            self._pass_on()

    def _pass_on(self) -> None:
        self._is_taken = False
        while self._waiting:
            future = heapq.heappop(self._waiting)[2]
            if not future.done():
                # Taken from now on, so that nobody gets in between.
                self._is_taken = True
                future.set_result(None)
                return


@asynccontextmanager
async def serving(engine: ScriptedEngine, socket: Path) -> AsyncIterator[None]:
    """Serve `engine` on `socket` in the running event loop."""
    config = uvicorn.Config(engine.app, uds=str(socket), log_config=None, lifespan="off")
    server = _QuietServer(config)
    task = asyncio.ensure_future(server.serve())
    try:
        while not server.started:
            if task.done():
                task.result()
            await asyncio.sleep(0.01)
        yield
    finally:
        server.should_exit = server.force_exit = True
        await task


class _QuietServer(uvicorn.Server):
    """Leaves the signals of the process that it is a guest in alone."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _num_prefills(request: CompletionRequest, prompts: dict[str, str]) -> int:
    """Forwards for what the engine has not read of the prompt yet."""
    known = prompts.get(request.document, "") if request.document is not None else ""
    num_chars = len(request.prompt) - common_prefix(known, request.prompt)
    if not known:
        num_chars += len(request.suffix)
    num_tokens = num_chars / CHARS_PER_TOKEN
    # A few new tokens ride on the first forward that decodes.
    if num_tokens <= PREFILL_TOKENS_PER_FORWARD / 8:
        return 0
    return -(-int(num_tokens) // PREFILL_TOKENS_PER_FORWARD) or 1


async def _disconnect(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
