"""FakeFillEngine: the fake engine with scripted answers to /v1/fill and /v1/repair, too."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from fake_engine import FakeEngine
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from engine.messages.completion import Facts, FinishReason
from engine.messages.fill import Fill, FillRequest
from engine.messages.repair import Confidence, Repair, RepairRequest


@dataclass(frozen=True)
class FillAnswer:
    """One text for each hole, the last one for all that are left; held until `release`."""

    texts: Sequence[str] = ("pass",)
    finish_reasons: Sequence[FinishReason] = ("stop",)
    is_held: bool = False
    status: int = 200


@dataclass(frozen=True)
class RepairAnswer:
    """`old` replaced by `new` in the selection."""

    old: str = ""
    new: str = ""
    is_held: bool = False


@dataclass
class FakeFillEngine(FakeEngine):
    """Answers fills and repairs from their scripts in order, then with the defaults for ever."""

    fill_script: deque[FillAnswer] = field(default_factory=deque)
    repair_script: deque[RepairAnswer] = field(default_factory=deque)
    fills: list[FillRequest] = field(default_factory=list)
    repairs: list[RepairRequest] = field(default_factory=list)
    num_abandoned: int = 0

    def _serve(self) -> None:
        routes = [
            Route("/health", self._health),
            Route("/v1/completions", self._complete, methods=["POST"]),
            Route("/v1/fill", self._fill, methods=["POST"]),
            Route("/v1/repair", self._repair, methods=["POST"]),
        ]
        app = Starlette(routes=routes)
        config = uvicorn.Config(app, uds=str(self.socket), log_config=None, lifespan="off")
        server = uvicorn.Server(config)

        async def serve() -> None:
            self._loop = asyncio.get_running_loop()
            self._released = asyncio.Event()
            self._server = server
            await server.serve()

        asyncio.run(serve())

    async def _fill(self, request: Request) -> Response:
        asked = FillRequest.from_json(json.loads(await request.body()))
        answer = self.fill_script.popleft() if self.fill_script else FillAnswer()
        self._note(self.fills, asked)
        if answer.is_held and await self._is_abandoned(request):
            self._note_abandoned()
            return Response(status_code=499)
        if answer.status != 200:
            return JSONResponse({"error": {"message": "No."}}, status_code=answer.status)
        fill = Fill(
            model=self.model,
            texts=_spread(answer.texts, asked.num_holes),
            finish_reasons=_spread(answer.finish_reasons, asked.num_holes),
            num_rounds=2,
            facts=_FACTS,
        )
        return JSONResponse(fill.to_json())

    async def _repair(self, request: Request) -> Response:
        asked = RepairRequest.from_json(json.loads(await request.body()))
        answer = self.repair_script.popleft() if self.repair_script else RepairAnswer()
        self._note(self.repairs, asked)
        if answer.is_held and await self._is_abandoned(request):
            self._note_abandoned()
            return Response(status_code=499)
        text = asked.text.replace(answer.old, answer.new, 1) if answer.old else asked.text
        start = asked.text.find(answer.old)
        is_changed = text != asked.text
        repair = Repair(
            model=self.model,
            text=text,
            spans=((start, start + len(answer.new)),) if is_changed else (),
            confidences=(Confidence(0.31, 0.84),) if is_changed else (),
            score_before=-2.0,
            score_after=-1.0 if is_changed else -2.0,
            finish_reason="stop",
            facts=_FACTS,
        )
        return JSONResponse(repair.to_json())

    def _note(self, where: list[Any], request: Any) -> None:
        with self._changed:
            where.append(request)
            self._changed.notify_all()

    def _note_abandoned(self) -> None:
        with self._changed:
            self.num_abandoned += 1
            self._changed.notify_all()


_FACTS = Facts(
    mode="ar",
    route="fim",
    route_reason="There is text after the cursor.",
    forwards=4,
    prefill_forwards=1,
    tokens=8,
    score=-0.5,
    num_near_ties=0,
    cached_tokens=0,
    timings_ms={"total": 1.0},
)


def _spread(values: Sequence[Any], count: int) -> tuple[Any, ...]:
    return tuple(values[min(index, len(values) - 1)] for index in range(count))
