"""FakeEngine: answers POST /v1/completions by a function of the request; real HTTP, no model."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from engine.messages.address import PROTOCOL_VERSION
from engine.messages.completion import Choice, Completion, CompletionRequest, Facts


class FakeEngine:
    """answer: the text for a request. refuse_after: how many requests are answered at all.
    facts: of /health, beside model, device and dtype. features: of the gate, for a text."""

    def __init__(
        self,
        answer: Callable[[CompletionRequest], str],
        *,
        dtype: str = "float32",
        refuse_after: int | None = None,
        facts: dict[str, Any] | None = None,
        features: Callable[[str], dict[str, float]] = lambda text: {},
    ) -> None:
        self.answer, self.dtype, self.refuse_after = answer, dtype, refuse_after
        self.facts, self.features = facts or {}, features
        self.requests: list[CompletionRequest] = []

    async def health(self, request: Request) -> JSONResponse:
        engine = {"model": "fake", "device": "cpu", "dtype": self.dtype, **self.facts}
        body = {"state": "ready", "phase": "", "fraction": None, "failure": None, "version": "0"}
        return JSONResponse(
            {**body, "protocol": PROTOCOL_VERSION, "pid": os.getpid(), "engine": engine}
        )

    async def completions(self, request: Request) -> JSONResponse:
        if self.refuse_after is not None and len(self.requests) >= self.refuse_after:
            return JSONResponse({"error": {"message": "Out of cheese.", "param": None}}, 503)
        asked = CompletionRequest.from_json(await request.json())
        self.requests.append(asked)
        text = self.answer(asked)
        return JSONResponse(_completion(asked, text, self.features(text)).to_json())


def _completion(asked: CompletionRequest, text: str, features: dict[str, float]) -> Completion:
    facts = Facts(
        mode="ar" if asked.mode == "ar" else "diffusion",
        route="fim",
        route_reason="fake",
        # AR takes one forward a token, everything else two tokens a forward.
        forwards=len(text) if asked.mode == "ar" else len(text) // 2,
        prefill_forwards=1,
        tokens=len(text),
        score=-0.5,
        num_near_ties=0,
        cached_tokens=0,
        timings_ms={"total": 1.0},
        # Two drafted tokens accepted in each of these, and one of the verify pass.
        num_cycles=0 if asked.mode in ("ar", "diffusion") else 4,
        num_drafted_tokens=12,
        num_accepted_tokens=8,
        gate_features=features,
    )
    choice = Choice(0, text, "stop")
    return Completion(
        id="x",
        created=1,
        model="fake",
        choices=(choice,),
        prompt_tokens=1,
        completion_tokens=len(text),
        facts=facts,
    )


@contextlib.contextmanager
def serving(engine: FakeEngine, path: Path) -> Iterator[Path]:
    """Serve `engine` on the Unix socket `path` while the block runs."""
    app = Starlette(
        routes=[
            Route("/health", engine.health),
            Route("/v1/completions", engine.completions, methods=["POST"]),
        ]
    )
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as listener:
        listener.bind(str(path))
        # From here on a client's connection succeeds; it waits until the server takes it.
        listener.listen()
        server = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="off"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield path
        finally:
            server.should_exit = True
            thread.join(60)
            path.unlink(missing_ok=True)
            assert not thread.is_alive(), "the fake engine did not stop"
