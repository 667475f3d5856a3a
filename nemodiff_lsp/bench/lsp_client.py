"""LspClient: one real language server process, spoken to in plain messages. Used by the benches.

Lean on purpose: what this client costs would be measured as the server's.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from engine.errors import EngineError

INLINE = "textDocument/inlineCompletion"
_END_S = 30.0

# What a client of full abilities answers to the server's own questions.
_ANSWERS: dict[str, Any] = {
    "client/registerCapability": None,
    "client/unregisterCapability": None,
    "window/workDoneProgress/create": None,
    "workspace/applyEdit": {"applied": False},
    "workspace/workspaceFolders": None,
}


class ServerGone(EngineError):
    """The language server ended while it was needed."""


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer of the server. arrived_s: time.perf_counter() when it was read."""

    result: Any
    error: dict[str, Any] | None
    arrived_s: float


@dataclass(frozen=True, slots=True)
class Launch:
    """How a language server is started. arguments: behind ``python -m nemodiff_lsp``."""

    arguments: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)


class LspClient:
    """Starts a server, counts what it answers, ends it. `notes` holds the messages to the user."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._pending: dict[int, asyncio.Future[Reply]] = {}
        self._next_id = 0
        self._reader = asyncio.ensure_future(self._read())
        self.notes: list[str] = []
        self.num_unexpected = 0
        """Answers to nothing, or second answers."""
        self.capabilities: dict[str, Any] = {}

    @classmethod
    async def start(cls, launch: Launch) -> Self:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "nemodiff_lsp", *launch.arguments),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env={**os.environ, **launch.environment},
            limit=2**26,
        )
        return cls(process)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def num_unanswered(self) -> int:
        return len(self._pending)

    @property
    def has_incremental_sync(self) -> bool:
        """Whether the server wants changes as edits (else as whole texts)."""
        sync = self.capabilities.get("textDocumentSync")
        return (sync.get("change") if isinstance(sync, dict) else sync) == 2

    async def initialize(self, client_name: str, folder_uri: str, options: object) -> None:
        """The whole start, as the editor `client_name` with one workspace folder."""
        dynamic = {"dynamicRegistration": client_name == "Visual Studio Code"}
        reply = await self.request(
            "initialize",
            {
                "processId": os.getpid(),
                "clientInfo": {"name": client_name, "version": "0"},
                "rootUri": folder_uri,
                "workspaceFolders": [{"uri": folder_uri, "name": "bench"}],
                "capabilities": {"textDocument": {"inlineCompletion": dynamic}},
                "initializationOptions": options,
            },
        )
        if reply.error is not None:
            raise ServerGone(f"The language server refused to start: {reply.error['message']}")
        self.capabilities = reply.result["capabilities"]
        self.notify("initialized", {})

    def notify(self, method: str, params: Any) -> None:
        self._send({"jsonrpc": "2.0", "method": method, "params": params})

    def ask(self, method: str, params: Any) -> tuple[int, asyncio.Future[Reply]]:
        """Send a request; its id, and the future of its reply (ServerGone if none comes)."""
        self._next_id += 1
        future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._pending[self._next_id] = future
        message = {"jsonrpc": "2.0", "id": self._next_id, "method": method, "params": params}
        self._send(message)
        return self._next_id, future

    async def request(self, method: str, params: Any) -> Reply:
        return await self.ask(method, params)[1]

    def cancel(self, msg_id: int) -> None:
        self.notify("$/cancelRequest", {"id": msg_id})

    async def close(self) -> None:
        """Shut the server down; kill it if it does not go."""
        try:
            async with asyncio.timeout(_END_S):
                if self._process.returncode is None:
                    await self.request("shutdown", None)
                    self.notify("exit", None)
                await self._process.wait()
        except (TimeoutError, ServerGone, ConnectionError):
            if self._process.returncode is None:
                self._process.kill()
            await self._process.wait()
        await self._reader

    def _send(self, message: dict[str, Any]) -> None:
        if self._process.stdin is None or self._process.stdin.is_closing():
            raise ServerGone("The language server has ended.")
        body = json.dumps(message, ensure_ascii=False).encode("utf-8", "surrogatepass")
        self._process.stdin.write(b"Content-Length: %d\r\n\r\n%s" % (len(body), body))

    async def _read(self) -> None:
        try:
            while (message := await self._message()) is not None:
                self._handle(message)
        finally:
            gone = ServerGone("The language server ended before it had answered.")
            for future in self._pending.values():
                if not future.done():
                    future.set_exception(gone)

    async def _message(self) -> dict[str, Any] | None:
        stdout = self._process.stdout
        assert stdout is not None
        num_bytes = 0
        while (line := await stdout.readline()) != b"\r\n":
            if not line:
                return None
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                num_bytes = int(value)
        message: dict[str, Any] = json.loads(await stdout.readexactly(num_bytes))
        return message

    def _handle(self, message: dict[str, Any]) -> None:
        arrived_s = time.perf_counter()
        method = message.get("method")
        if method is None:
            future = self._pending.pop(message.get("id", -1), None)
            if future is None:
                self.num_unexpected += 1
            elif not future.done():
                future.set_result(Reply(message.get("result"), message.get("error"), arrived_s))
        elif "id" in message:
            self._send({"jsonrpc": "2.0", "id": message["id"], **_answer(message)})
        elif method == "window/showMessage":
            self.notes.append(str(message["params"]["message"]))


def _answer(message: dict[str, Any]) -> dict[str, Any]:
    method = message["method"]
    if method == "workspace/configuration":
        return {"result": [None] * len(message["params"]["items"])}
    if method in _ANSWERS:
        return {"result": _ANSWERS[method]}
    return {"error": {"code": -32601, "message": "This client does not know that."}}
