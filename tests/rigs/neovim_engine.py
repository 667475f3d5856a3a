"""An engine without a model whose completions a test knows: the rest of a line it was given.

Run as ``python neovim_engine.py SOCKET SCRIPT FORWARD_MS``. SCRIPT: a JSON list; each entry lists
alternatives of one text, the first line of which begins as what the user types.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

from engine.messages.completion import Choice, Completion, CompletionRequest
from nemodiff_lsp.bench.scripted_engine import ScriptedEngine, Speed, serving


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
    """A ScriptedEngine whose candidates differ."""

    def __init__(self, script: Script, speed: Speed) -> None:
        super().__init__(script, speed)  # type: ignore[arg-type]
        self._script = script

    async def _steps(
        self, request: CompletionRequest, arrived_s: float
    ) -> AsyncIterator[Completion]:
        texts = self._script.alternatives(request.prompt)[: request.n]
        async for step in super()._steps(request, arrived_s):
            if request.n > 1 and texts:
                choices = tuple(Choice(at, text, "stop") for at, text in enumerate(texts))
                step = replace(step, choices=choices)
            yield step


async def serve(socket: Path, script: Path, forward_ms: float) -> None:
    """Serve until the process is killed."""
    entries = json.loads(script.read_text(encoding="utf-8"))
    async with serving(AlternativesEngine(Script(entries), Speed(forward_ms)), socket):
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3])))
