"""Engines to measure with: a real one in a process of its own, or a scripted one.

Used by the benches.
"""

from __future__ import annotations

import asyncio
import re
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from engine.messages.address import EngineAddress
from engine.messages.client import AsyncEngineClient
from engine.messages.errors import EngineUnavailable
from engine.messages.launch import ensure_engine_async, stop_engine
from nemodiff_lsp.bench.oracle import Oracle
from nemodiff_lsp.bench.scripted_engine import ScriptedEngine, Speed, serving

_POLL_S = 0.2
_FORWARDS = re.compile(r"^nemodiff_forwards_total(?:\{[^}]*\})? (\S+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class EngineChoice:
    """The engine of a measurement. model, device, max_cache_bytes (of KV): of a real one (None:
    its defaults); skill, speed: of a scripted one."""

    is_scripted: bool = True
    model: str | None = None
    device: str | None = None
    max_cache_bytes: int | None = None
    skill: float = 0.25
    speed: Speed = field(default_factory=Speed)


@dataclass(frozen=True, slots=True)
class RunningEngine:
    """An engine that is ready. description: what /health tells of it."""

    socket: Path
    pid: int
    oracle: Oracle
    description: dict[str, Any]

    async def num_forwards(self) -> int:
        """Model passes so far, those of cancelled requests too. Raises EngineUnavailable."""
        transport = httpx.AsyncHTTPTransport(uds=str(self.socket))
        try:
            async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
                text = (await http.get("/metrics")).text
        except httpx.HTTPError as error:
            raise EngineUnavailable(
                f"The engine tells no metrics ({type(error).__name__})."
            ) from None
        found = _FORWARDS.search(text)
        if found is None:
            raise EngineUnavailable("The engine's metrics do not tell its forwards.")
        return int(float(found.group(1)))


@asynccontextmanager
async def running_engine(choice: EngineChoice) -> AsyncIterator[RunningEngine]:
    """An engine of its own, ended with the block. Raises EngineUnavailable."""
    with tempfile.TemporaryDirectory(prefix="nemodiff-bench-") as folder:
        socket = Path(folder) / "engine.sock"
        oracle = Oracle(choice.skill)
        if choice.is_scripted:
            async with serving(ScriptedEngine(oracle, choice.speed), socket):
                yield await _ready(socket, oracle)
            return
        address = EngineAddress(socket=socket)
        options = {
            "--model": choice.model,
            "--device": choice.device,
            "--max-cache-bytes": choice.max_cache_bytes,
        }
        arguments = [
            part
            for name, value in options.items()
            if value is not None
            for part in (name, str(value))
        ]
        try:
            await ensure_engine_async(address, arguments=arguments)
            yield await _ready(socket, oracle)
        finally:
            await asyncio.to_thread(stop_engine, address)


async def _ready(socket: Path, oracle: Oracle) -> RunningEngine:
    """Wait for the model. Raises EngineUnavailable with the engine's own sentence."""
    async with AsyncEngineClient(EngineAddress(socket=socket)) as client:
        while (health := await client.health())["state"] == "loading":
            await asyncio.sleep(_POLL_S)
    if health["state"] != "ready":
        raise EngineUnavailable(str(health["failure"]))
    return RunningEngine(socket, int(health["pid"]), oracle, dict(health["engine"]))
