"""Soak: many documents of many clients type for a long time. `nemodiff bench soak`.

Some clients are whole language servers, the others speak with the engine themselves, which costs a
small machine less. Looks for requests without an answer, for memory that grows, and for documents
that get less than their share. Called by `__main__.py`.
"""

from __future__ import annotations

import asyncio
import itertools
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from engine.messages.address import EngineAddress
from engine.messages.client import AsyncEngineClient
from engine.messages.completion import CompletionRequest
from engine.messages.errors import EngineRefused, EngineUnavailable
from nemodiff_lsp.bench.document import Document
from nemodiff_lsp.bench.engines import EngineChoice, RunningEngine, running_engine
from nemodiff_lsp.bench.figures import jain_index, slope, spread
from nemodiff_lsp.bench.lsp_client import Launch, LspClient, ServerGone
from nemodiff_lsp.bench.process_figures import resident_mib
from nemodiff_lsp.bench.typing_trace import Sitting
from nemodiff_lsp.bench.typist import Typist

Report = Callable[[str], None]

DEADLINE_MS = 2_000.0
_SAMPLE_S = 1.0
# Caches fill and libraries settle in this share of the time; growth is looked for behind it.
_WARM_UP_SHARE = 0.3
_STATUS_OVERLOAD = 503


@dataclass(frozen=True, slots=True)
class Load:
    """What is done. num_servers of the num_clients are language servers."""

    minutes: float
    num_clients: int
    num_servers: int
    num_documents: int
    engine: EngineChoice
    sittings: Sequence[Sitting]
    settings: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Tally:
    """What one document asked and got."""

    kind: str
    asked: int = 0
    answered: int = 0
    refused: int = 0
    failed: int = 0
    latencies_ms: list[float] = field(default_factory=list)


class _Asks(Protocol):
    """One client's way to ask for a completion of a document's text at a cursor."""

    async def open(self, uri: str, sitting: Sitting) -> None: ...
    async def key(self, uri: str, cursor: int, num_deleted: int, inserted: str) -> str: ...
    async def close(self, uri: str) -> None: ...


async def soak(load: Load, report: Report) -> dict[str, Any]:
    """Run the load; the figures. Raises EngineError."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="nemodiff-soak-")))
        engine = await stack.enter_async_context(running_engine(load.engine))
        servers: list[LspClient] = []
        askers: list[tuple[str, _Asks]] = []
        for number in range(load.num_clients):
            if number < load.num_servers:
                started = _server(load, folder / f"window-{number}", engine)
                servers.append(await stack.enter_async_context(started))
                askers.append(("server", _ServerAsks(servers[-1])))
            else:
                client = AsyncEngineClient(EngineAddress(socket=engine.socket))
                stack.push_async_callback(client.aclose)
                askers.append(("engine client", _EngineAsks(client, f"client-{number}")))
        processes = {f"server {number}": each.pid for number, each in enumerate(servers)}
        if not load.engine.is_scripted:
            processes["engine"] = engine.pid
        end_s = time.monotonic() + load.minutes * 60.0
        memory = asyncio.ensure_future(_watch(processes, end_s, report))
        tallies = await _type_all(load, askers, folder, end_s)
        figures = _figures(load, tallies, await memory)
        figures["unanswered"] += sum(server.num_unanswered for server in servers)
        figures["unexpected_answers"] = sum(server.num_unexpected for server in servers)
        figures["forwards"] = await engine.num_forwards()
        return figures


async def _type_all(
    load: Load, askers: Sequence[tuple[str, _Asks]], folder: Path, end_s: float
) -> list[Tally]:
    """Every document types until `end_s`, each in a task of its own, evenly over the clients."""
    tallies: list[Tally] = []
    async with asyncio.TaskGroup() as group:
        for number in range(load.num_documents):
            kind, asks = askers[number % len(askers)]
            tally = Tally(kind)
            tallies.append(tally)
            start = number * len(load.sittings) // load.num_documents
            texts = itertools.cycle([*load.sittings[start:], *load.sittings[:start]])
            uri = (folder / f"window-{number % len(askers)}" / f"file_{number}.py").as_uri()
            group.create_task(_type_on(asks, uri, texts, tally, end_s))
    return tallies


async def _type_on(
    asks: _Asks, uri: str, texts: Iterator[Sitting], tally: Tally, end_s: float
) -> None:
    """Type one sitting after the other; each key comes when the one before is answered."""
    for sitting in texts:
        await asks.open(uri, sitting)
        typist = Typist(sitting.base, sitting.edits)
        while (key := typist.next_key()) is not None:
            if time.monotonic() >= end_s:
                await asks.close(uri)
                return
            cursor = typist.cursor
            typist.press(key)
            tally.asked += 1
            began_s = time.perf_counter()
            outcome = await asks.key(uri, cursor, key.num_deleted, key.inserted)
            setattr(tally, outcome, getattr(tally, outcome) + 1)
            tally.latencies_ms.append((time.perf_counter() - began_s) * 1000.0)
        await asks.close(uri)


class _EngineAsks:
    """A client that speaks with the engine itself."""

    def __init__(self, client: AsyncEngineClient, name: str) -> None:
        self._client, self._name = client, name
        self._texts: dict[str, str] = {}

    async def open(self, uri: str, sitting: Sitting) -> None:
        self._texts[uri] = sitting.base

    async def key(self, uri: str, cursor: int, num_deleted: int, inserted: str) -> str:
        text = self._texts[uri]
        before, after = text[: cursor - num_deleted] + inserted, text[cursor:]
        self._texts[uri] = before + after
        request = CompletionRequest(
            prompt=before[-16_000:],
            suffix=after[:4_000],
            max_tokens=32,
            deadline_ms=DEADLINE_MS,
            document=uri,
            client=self._name,
        )
        try:
            await self._client.complete(request)
        except EngineRefused as error:
            return "refused" if error.status == _STATUS_OVERLOAD else "failed"
        except EngineUnavailable:
            return "failed"
        return "answered"

    async def close(self, uri: str) -> None:
        del self._texts[uri]


class _ServerAsks:
    """A client that is a language server with its documents."""

    def __init__(self, client: LspClient) -> None:
        self._client = client
        self._documents: dict[str, Document] = {}

    async def open(self, uri: str, sitting: Sitting) -> None:
        document = Document(self._client, uri, sitting.language_id, sitting.base)
        self._documents[uri] = document

    async def key(self, uri: str, cursor: int, num_deleted: int, inserted: str) -> str:
        document = self._documents[uri]
        document.change(cursor - num_deleted, cursor, inserted)
        reply = await document.ask(cursor - num_deleted + len(inserted))[1]
        return "answered" if reply.error is None else "failed"

    async def close(self, uri: str) -> None:
        self._documents.pop(uri).close()


@asynccontextmanager
async def _server(load: Load, folder: Path, engine: RunningEngine) -> AsyncIterator[LspClient]:
    """A language server with the workspace folder `folder`."""
    folder.mkdir()
    arguments = ["--engine-socket", str(engine.socket), "--no-engine-start"]
    own = {f"XDG_{kind}_HOME": str(folder / "own") for kind in ("CONFIG", "STATE")}
    async with await LspClient.start(Launch(arguments, own)) as client:
        await client.initialize("Visual Studio Code", folder.as_uri(), load.settings)
        try:
            yield client
        except ServerGone:
            raise ServerGone("A language server ended during the soak.") from None


async def _watch(
    processes: dict[str, int], end_s: float, report: Report
) -> dict[str, list[tuple[float, float]]]:
    """Resident memory of each process over time: (minutes, MiB)."""
    began_s = time.monotonic()
    samples: dict[str, list[tuple[float, float]]] = {name: [] for name in processes}
    while (now_s := time.monotonic()) < end_s:
        for name, pid in processes.items():
            if (mib := resident_mib(pid)) is not None:
                samples[name].append(((now_s - began_s) / 60.0, mib))
        report(f"{(end_s - now_s) / 60.0:.1f} minutes left")
        await asyncio.sleep(min(_SAMPLE_S, max(0.0, end_s - now_s)))
    return samples


def _figures(
    load: Load, tallies: Sequence[Tally], memory: dict[str, list[tuple[float, float]]]
) -> dict[str, Any]:
    asked = sum(tally.asked for tally in tallies)
    replied = sum(tally.answered + tally.refused + tally.failed for tally in tallies)
    kinds = sorted({tally.kind for tally in tallies})
    by_kind = {kind: [tally for tally in tallies if tally.kind == kind] for kind in kinds}
    return {
        "minutes": load.minutes,
        "clients": load.num_clients,
        "language_servers": load.num_servers,
        "documents": len(tallies),
        "asked": asked,
        "answered": sum(tally.answered for tally in tallies),
        "refused_as_overload": sum(tally.refused for tally in tallies),
        "failed": sum(tally.failed for tally in tallies),
        "unanswered": asked - replied,
        "latency_ms": {
            kind: spread([ms for tally in each for ms in tally.latencies_ms])
            for kind, each in by_kind.items()
        },
        "fairness_jain": {
            kind: round(jain_index([tally.answered for tally in each]), 4)
            for kind, each in by_kind.items()
        },
        "least_and_most_answered": {
            kind: f"{min(t.answered for t in each)} .. {max(t.answered for t in each)}"
            for kind, each in by_kind.items()
        },
        "memory": {name: _growth(samples) for name, samples in memory.items()},
    }


def _growth(samples: Sequence[tuple[float, float]]) -> dict[str, float]:
    """Memory at the end, and how it grew behind the warm-up."""
    warm = list(samples[int(len(samples) * _WARM_UP_SHARE) :])
    if not warm:
        return {}
    minutes, mib = zip(*warm, strict=True)
    return {
        "mib": round(mib[-1], 1),
        "mib_per_minute": round(slope(minutes, mib), 3),
        "grown_mib": round(mib[-1] - mib[0], 1),
    }
