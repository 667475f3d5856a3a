"""An engine without a model whose completions a test knows: the rest of a line it was given.

Run as ``python neovim_engine.py SOCKET SCRIPT FORWARD_MS``. SCRIPT: a JSON list; each entry lists
alternatives of one text, the first line of which begins as what the user types. Or an object with
that list as ``completions``, with the texts of holes as ``fill`` and with a pair (old, new) as
``repair``. GET /asked tells which fills and repairs have been asked for.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from engine.messages.completion import Choice, Completion, CompletionRequest, Facts, FinishReason
from engine.messages.fill import Fill, FillRequest
from engine.messages.repair import Confidence, Repair, RepairRequest
from nemodiff_lsp.bench.scripted_engine import MODEL, ScriptedEngine, Speed, serving


class Script:
    """What the engine knows by heart."""

    def __init__(self, entries: list[list[str]]) -> None:
        self._entries = entries

    def continuation(self, prompt: str) -> str:
        found = self.alternatives(prompt)
        return found[0] if found else ""

    def alternatives(self, prompt: str) -> list[str]:
        typed = prompt.rpartition("\n")[2].lstrip()
        return [
            text[len(typed) :]
            for entry in self._entries
            for text in entry
            if typed and text.startswith(typed)
        ]


class AlternativesEngine(ScriptedEngine):
    """A ScriptedEngine whose candidates differ, and which fills and repairs, too."""

    def __init__(self, script: dict[str, Any], speed: Speed) -> None:
        known = Script(script["completions"])
        super().__init__(known, speed)  # type: ignore[arg-type]
        self._script = known
        self._fill_texts: list[str] = script.get("fill", [])
        self._repair_pair: tuple[str, str] = tuple(script.get("repair", ("", "")))
        self._asked: list[dict[str, Any]] = []
        self.app.router.routes += [
            Route("/v1/fill", self._fill, methods=["POST"]),
            Route("/v1/repair", self._repair, methods=["POST"]),
            Route("/asked", self._tell_asked),
        ]

    async def _fill(self, http: Request) -> Response:
        asked = FillRequest.from_json(await http.json())
        self._asked.append(asked.to_json())
        texts = (*self._fill_texts, *[""] * asked.num_holes)[: asked.num_holes]
        reasons: tuple[FinishReason, ...] = ("stop",) * asked.num_holes
        answer = Fill(
            model=MODEL, texts=texts, finish_reasons=reasons, num_rounds=1, facts=_NO_WORK
        )
        return JSONResponse(answer.to_json())

    async def _repair(self, http: Request) -> Response:
        asked = RepairRequest.from_json(await http.json())
        self._asked.append(asked.to_json())
        old, new = self._repair_pair
        at = asked.text.find(old) if old else -1
        is_found = at >= 0
        answer = Repair(
            model=MODEL,
            text=asked.text.replace(old, new, 1) if is_found else asked.text,
            spans=((at, at + len(new)),) if is_found else (),
            confidences=(Confidence(0.25, 0.75),) if is_found else (),
            score_before=-2.0,
            score_after=-1.0 if is_found else -2.0,
            finish_reason="stop",
            facts=_NO_WORK,
        )
        return JSONResponse(answer.to_json())

    async def _tell_asked(self, _: Request) -> Response:
        return JSONResponse(self._asked)

    async def _steps(
        self, request: CompletionRequest, arrived_s: float
    ) -> AsyncIterator[Completion]:
        texts = self._script.alternatives(request.prompt)[: request.n]
        async for step in super()._steps(request, arrived_s):
            if request.n > 1 and texts:
                choices = tuple(Choice(at, text, "stop") for at, text in enumerate(texts))
                step = replace(step, choices=choices)
            yield step


_NO_WORK = Facts.of_no_work("Scripted.", 0.0)


async def serve(socket: Path, script: Path, forward_ms: float) -> None:
    """Serve until the process is killed."""
    given = json.loads(script.read_text(encoding="utf-8"))
    known = {"completions": given} if isinstance(given, list) else given
    async with serving(AlternativesEngine(known, Speed(forward_ms)), socket):
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3])))
