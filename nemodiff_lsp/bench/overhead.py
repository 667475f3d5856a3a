"""What the language server itself costs: a large document and an engine that answers at once.

``nemodiff bench lsp --case overhead``; called by `__main__.py`. Time on a busy machine says little,
so each figure stands beside that of the cheapest message which the same server can answer.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from engine.messages.address import EngineAddress
from engine.messages.client import AsyncEngineClient
from engine.messages.completion import CompletionRequest
from nemodiff_lsp.bench.document import Document
from nemodiff_lsp.bench.engines import EngineChoice, running_engine
from nemodiff_lsp.bench.figures import ratio, spread
from nemodiff_lsp.bench.lsp_client import Launch, LspClient, Reply
from nemodiff_lsp.bench.oracle import WRONG
from nemodiff_lsp.bench.process_figures import processor_s
from nemodiff_lsp.bench.replay import CLIENT_NAMES
from nemodiff_lsp.bench.scripted_engine import Speed
from nemodiff_lsp.bench.tap import Tap

NUM_LINES = 20_000
_LINE = "    value_{number} = compute_value({number}, first_argument, second_argument)"
_TYPED = "    result_of_round_{number} = combine(first_argument, second_argument, {number})"
_ENGINE = EngineChoice(skill=1.0, speed=Speed(0.0))

# Background work would be measured with whatever comes next, and a wait by choice is no cost.
_SETTINGS = {
    "maxRequestsPerSecond": 1000,
    "debounceMs": 0,
    "prefetch": False,
    "speculativeStart": False,
    "maxFileChars": 100_000_000,
}

Work = Callable[[], Awaitable[Reply]]


async def measure(num_rounds: int, settings: dict[str, Any]) -> dict[str, Any]:
    """Figures in milliseconds; `num_rounds` lines are typed. Raises EngineError."""
    with tempfile.TemporaryDirectory(prefix="nemodiff-bench-") as name:
        folder = Path(name).resolve()
        socket = folder / "tap.sock"
        arguments = ["--engine-socket", str(socket), "--no-engine-start"]
        own = {f"XDG_{kind}_HOME": str(folder / "own") for kind in ("CONFIG", "STATE")}
        async with (
            running_engine(_ENGINE) as engine,
            Tap(socket, engine.socket) as tap,
            await LspClient.start(Launch(arguments, own)) as client,
        ):
            await client.initialize(
                CLIENT_NAMES["vscode"], folder.as_uri(), {**_SETTINGS, **settings}
            )
            text = "def compute():\n" + "".join(
                _LINE.format(number=number) + "\n" for number in range(NUM_LINES)
            )
            # Reads its learnt text at every request, so only what is typed is told to it.
            bench = _Bench(
                client, tap, Document(client, (folder / "large.py").as_uri(), "python", text)
            )
            # The document has been read when this is answered.
            await client.request("nemodiff/bench", None)
            before_s = processor_s(client.pid)
            for number in range(num_rounds):
                line = _TYPED.format(number=number)
                engine.oracle.learn(f"{bench.line_before()}\n{line}\n")
                await bench.type_line(line)
            processor_ms = _gap_ms(before_s, processor_s(client.pid))
            alone_ms = await _engine_alone(socket, text, num_rounds)
            return {**bench.figures(processor_ms, alone_ms), "messages": client.notes}


class _Bench:
    """Types lines in the middle of the document, and sorts what each answer took."""

    def __init__(self, client: LspClient, tap: Tap, document: Document) -> None:
        self._client, self._tap, self._document = client, tap, document
        self._cursor = document.text.index("\n", len(document.text) // 2)
        self._floor_ms: list[float] = []
        self._engine_ms: list[float] = []
        self._typed_through_ms: list[float] = []
        self._other_ms: list[float] = []

    def line_before(self) -> str:
        """The line that ends at the cursor."""
        text = self._document.text
        return text[text.rfind("\n", 0, self._cursor) + 1 : self._cursor]

    async def type_line(self, line: str) -> None:
        """Open a line at the cursor and type `line`, whatever is offered."""
        for typed in ("\n", *line):
            await self._press(typed)
        _, self_ms = await self._timed(lambda: self._client.request("nemodiff/bench", None))
        self._floor_ms.append(self_ms)

    async def _press(self, typed: str) -> None:
        began_s = time.perf_counter()

        async def change_and_ask() -> Reply:
            self._document.change(self._cursor, self._cursor, typed)
            self._cursor += len(typed)
            reply: Reply = await self._document.ask(self._cursor)[1]
            return reply

        reply, took_ms = await self._timed(change_and_ask)
        items = (reply.result or {}).get("items", [])
        if any(True for _ in self._tap.since(began_s)):
            self._engine_ms.append(took_ms)
        elif items and WRONG not in str(items[0]["insertText"]):
            self._typed_through_ms.append(took_ms)
        else:
            self._other_ms.append(took_ms)

    @staticmethod
    async def _timed(work: Work) -> tuple[Reply, float]:
        began_s = time.perf_counter()
        reply = await work()
        return reply, (reply.arrived_s - began_s) * 1000.0

    def figures(self, processor_ms: float | None, alone_ms: list[float]) -> dict[str, Any]:
        """processor_ms: what the server has used of a processor for all keys together. alone_ms:
        what requests took that went to the engine directly."""
        num_keys = len(self._engine_ms) + len(self._typed_through_ms) + len(self._other_ms)
        floor = spread(self._floor_ms)
        alone = spread(alone_ms)
        engine, typed = spread(self._engine_ms), spread(self._typed_through_ms)
        return {
            "num_lines": NUM_LINES,
            "incremental_sync": self._client.has_incremental_sync,
            "cheapest_message_ms": floor,
            "change_and_request_with_engine_ms": engine,
            "engine_without_server_ms": alone,
            "server_adds_p50_ms": _difference(engine["p50"], alone["p50"]),
            "typed_through_ms": typed,
            "nothing_to_show_ms": spread(self._other_ms),
            "server_processor_ms_per_key": ratio(processor_ms, num_keys),
            "engine_over_cheapest_p50": ratio(engine["p50"], floor["p50"]),
            "typed_through_over_cheapest_p99": ratio(typed["p99"], floor["p99"]),
        }


def _gap_ms(before_s: float | None, after_s: float | None) -> float | None:
    return None if before_s is None or after_s is None else (after_s - before_s) * 1000.0


def _difference(more: float | None, less: float | None) -> float | None:
    return None if more is None or less is None else round(more - less, 3)


async def _engine_alone(socket: Path, text: str, num_requests: int) -> list[float]:
    """How long the same kind of request takes without a language server, in milliseconds."""
    times_ms = []
    async with AsyncEngineClient(EngineAddress(socket=socket)) as client:
        for _ in range(num_requests):
            request = CompletionRequest(prompt=text[:16_000], suffix=text[:4_000])
            began_s = time.perf_counter()
            await client.complete(request)
            times_ms.append((time.perf_counter() - began_s) * 1000.0)
    return times_ms
