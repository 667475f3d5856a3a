"""Tap: sits between a language server and its engine, and sees every request. Used by the benches.

A byte pump on a Unix socket, so it costs well under a millisecond. It can also take the document's
id out of requests, without which the engine keeps nothing from one request to the next.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

_HEAD_END = b"\r\n\r\n"
_LENGTH = re.compile(rb"^content-length:\s*(\d+)", re.IGNORECASE | re.MULTILINE)
_CONNECTION = re.compile(rb"\r\nconnection:[^\r]*", re.IGNORECASE)
_FORWARDS = re.compile(rb'"forwards":\s*(\d+)')
_MAX_HEAD_BYTES = 2**16
# More than these are never under way at a time.
_MAX_RECENT = 64


@dataclass(slots=True)
class Seen:
    """One request for work. Times are time.perf_counter(); ended_s is None while it runs.

    forwards: of the answer; None for a request that got none (cancelled, refused).
    """

    priority: str
    began_s: float
    ended_s: float | None = None
    forwards: int | None = None


class Tap:
    """Listens on `socket` and passes everything on to the engine on `engine_socket`."""

    def __init__(self, socket: Path, engine_socket: Path, *, drops_document: bool = False) -> None:
        self._socket, self._engine_socket = socket, engine_socket
        self._drops_document = drops_document
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._num_running = 0
        self._is_idle = asyncio.Event()
        self._is_idle.set()
        self.seen: list[Seen] = []

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_unix_server(self._accept, self._socket)
        # The folder is private already; a server also looks at the socket itself.
        self._socket.chmod(0o600)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._server is not None
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def since(self, time_s: float) -> Iterator[Seen]:
        """Requests that ran at or after `time_s`, newest first, as far as they are recent."""
        for each in self.seen[-_MAX_RECENT:][::-1]:
            if each.ended_s is None or each.ended_s >= time_s:
                yield each

    async def idle(self) -> None:
        """Wait until no request runs."""
        await self._is_idle.wait()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection with one request; whichever side hangs up ends it for both."""
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            try:
                head, body = await _request(reader)
                seen = self._note(head, body)
                if self._drops_document and seen is not None:
                    body = _without_document(body)
                try:
                    await self._pass_on(_rewritten(head, body), reader, writer, seen)
                finally:
                    self._end(seen)
            finally:
                writer.close()

    def _note(self, head: bytes, body: bytes) -> Seen | None:
        if not head.startswith(b"POST /v1/"):
            return None
        priority = "interactive"
        with contextlib.suppress(ValueError, AttributeError):
            priority = json.loads(body).get("priority", priority)
        seen = Seen(priority, time.perf_counter())
        self.seen.append(seen)
        self._num_running += 1
        self._is_idle.clear()
        return seen

    def _end(self, seen: Seen | None) -> None:
        if seen is not None:
            seen.ended_s = time.perf_counter()
            self._num_running -= 1
            if not self._num_running:
                self._is_idle.set()

    async def _pass_on(
        self,
        request: bytes,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        seen: Seen | None,
    ) -> None:
        up_reader, up_writer = await asyncio.open_unix_connection(self._engine_socket)
        try:
            up_writer.write(request)
            answer = asyncio.ensure_future(_pump(up_reader, writer))
            hung_up = asyncio.ensure_future(reader.read(1))
            try:
                await asyncio.wait({answer, hung_up}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                hung_up.cancel()
                answer.cancel()
            if answer.done() and not answer.cancelled() and seen is not None:
                found = _FORWARDS.findall(answer.result())
                seen.forwards = int(found[-1]) if found else None
        finally:
            up_writer.close()


async def _request(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    head = await reader.readuntil(_HEAD_END)
    found = _LENGTH.search(head[:_MAX_HEAD_BYTES])
    return head, await reader.readexactly(int(found.group(1))) if found else b""


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    """Pass everything on until the end; what passed."""
    passed = bytearray()
    while data := await reader.read(2**16):
        passed += data
        writer.write(data)
        await writer.drain()
    return bytes(passed)


def _rewritten(head: bytes, body: bytes) -> bytes:
    """The request for `body`, asking for a connection that ends with the answer."""
    head = _CONNECTION.sub(b"", head)[: -len(_HEAD_END)] + b"\r\nConnection: close" + _HEAD_END
    return _LENGTH.sub(b"content-length: %d" % len(body), head) + body


def _without_document(body: bytes) -> bytes:
    fields: dict[str, Any] = json.loads(body)
    fields.pop("document", None)
    return json.dumps(fields).encode()
