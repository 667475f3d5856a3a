"""FakeEngine: an HTTP engine with scripted answers on a Unix socket, in a thread of the test.

Used by the tests of the language server and of the command line. It records every request and
every connection that was closed before its answer.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from engine.messages.address import PROTOCOL_VERSION
from engine.messages.completion import Choice, Completion, CompletionRequest, Facts

# A guard against a hang, never a synchronisation: a passing test waits for events only.
GUARD_S = 30.0
MODEL = "fake-model"


@dataclass(frozen=True)
class Answer:
    """One scripted answer. Held answers are sent after `FakeEngine.release` only."""

    texts: Sequence[str] = ("pass",)
    finish_reason: str = "stop"
    gated: bool = False
    is_held: bool = False
    status: int = 200
    error: str = ""
    mode: str = "diffusion"
    route: str = "fim"


@dataclass
class FakeEngine:
    """Answers from `script` in order, then with `default` for ever."""

    socket: Path
    default: Answer = field(default_factory=Answer)
    model: str = MODEL
    aliases: tuple[str, ...] = ()
    state: str = "ready"
    failure: str | None = None
    script: deque[Answer] = field(default_factory=deque)
    requests: list[CompletionRequest] = field(default_factory=list)
    disconnected: list[CompletionRequest] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._changed = threading.Condition()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._released: asyncio.Event | None = None
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> FakeEngine:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self) -> None:
        self._thread = threading.Thread(target=self._serve, name="fake-engine", daemon=True)
        self._thread.start()
        self.wait_until(lambda: self._server is not None and self._server.started)

    def stop(self) -> None:
        if self._server is not None and self._thread is not None:
            self.release()
            self._server.should_exit = True
            self._server.force_exit = True
            self._thread.join(GUARD_S)
        self._server = None

    def release(self) -> None:
        """Send the held answers."""
        assert self._loop is not None and self._released is not None
        self._loop.call_soon_threadsafe(self._released.set)

    def wait_until(self, is_so: Callable[[], bool]) -> None:
        """Block until `is_so()`, which is asked again at each request and disconnect."""
        deadline_s = time.monotonic() + GUARD_S
        with self._changed:
            while not is_so():
                assert time.monotonic() < deadline_s, "the fake engine waited in vain"
                self._changed.wait(0.05)

    async def until(self, is_so: Callable[[], bool]) -> None:
        """`wait_until` for async tests."""
        await asyncio.to_thread(self.wait_until, is_so)

    def _serve(self) -> None:
        routes = [
            Route("/health", self._health),
            Route("/v1/completions", self._complete, methods=["POST"]),
        ]
        config = uvicorn.Config(
            Starlette(routes=routes), uds=str(self.socket), log_config=None, lifespan="off"
        )
        server = uvicorn.Server(config)

        async def serve() -> None:
            self._loop = asyncio.get_running_loop()
            self._released = asyncio.Event()
            self._server = server
            await server.serve()

        asyncio.run(serve())

    async def _health(self, request: Request) -> Response:
        return JSONResponse(
            {
                "state": self.state,
                "phase": self.state,
                "fraction": 1.0,
                "failure": self.failure,
                "protocol": PROTOCOL_VERSION,
                "pid": 1,
                "model_names": [self.model, *self.aliases],
                "engine": {"model": self.model},
            }
        )

    async def _complete(self, request: Request) -> Response:
        asked = CompletionRequest.from_json(json.loads(await request.body()))
        answer = self.script.popleft() if self.script else self.default
        self._record(self.requests, asked)
        if answer.is_held and await self._is_abandoned(request):
            self._record(self.disconnected, asked)
            return Response(status_code=499)
        if answer.status != 200:
            body: dict[str, Any] = {"error": {"message": answer.error, "param": None}}
            return JSONResponse(body, status_code=answer.status)
        return JSONResponse(completion_of(asked, answer, self.model).to_json())

    async def _is_abandoned(self, request: Request) -> bool:
        assert self._released is not None
        gone = asyncio.ensure_future(_disconnect(request))
        released = asyncio.ensure_future(self._released.wait())
        await asyncio.wait({gone, released}, return_when=asyncio.FIRST_COMPLETED)
        is_gone = gone.done()
        gone.cancel()
        released.cancel()
        return is_gone

    def _record(self, where: list[CompletionRequest], request: CompletionRequest) -> None:
        with self._changed:
            where.append(request)
            self._changed.notify_all()


async def _disconnect(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def completion_of(request: CompletionRequest, answer: Answer, model: str) -> Completion:
    """The Completion that a real engine would send for `answer`."""
    texts = list(answer.texts)[: request.n]
    choices = tuple(
        Choice(index, text, answer.finish_reason)  # type: ignore[arg-type]
        for index, text in enumerate(texts)
    )
    return Completion(
        id="cmpl-1",
        created=1,
        model=model,
        choices=choices,
        prompt_tokens=len(request.prompt),
        completion_tokens=12,
        facts=Facts(
            mode=answer.mode,
            route=answer.route,
            route_reason="There is text after the cursor.",
            forwards=5,
            prefill_forwards=2,
            tokens=12,
            score=-0.25,
            num_near_ties=0,
            cached_tokens=0,
            timings_ms={"prefill": 3.0, "decode": 7.5, "total": 10.5},
            gated=answer.gated,
        ),
    )
