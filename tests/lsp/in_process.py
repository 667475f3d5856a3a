"""A language server in this process: messages go in as JSON, replies come out, no pipes, no engine.

Used by the tests that count, that need the server's own loop to stand still, or that try thousands
of interleavings.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fake_engine import GUARD_S, Answer, completion_of

from engine.messages.address import EngineAddress
from engine.messages.completion import Completion, CompletionRequest
from nemodiff_lsp.link.engine_options import EngineOptions
from nemodiff_lsp.link.engine_state import EngineState
from nemodiff_lsp.server import NemoDiffServer, create_server

INLINE = "textDocument/inlineCompletion"
URI = "file:///project/a.txt"


@dataclass(eq=False)
class Asked:
    """A request at the engine. `answer` is set when it has been given one."""

    request: CompletionRequest
    done: asyncio.Future[Answer | None]
    is_cancelled: bool = False
    answer: Answer | None = None

    @property
    def is_open(self) -> bool:
        return not self.done.done() and not self.is_cancelled


@dataclass
class ScriptedLink:
    """In place of EngineLink. Requests wait in `asked` for `give`, or get `default` at once."""

    options: EngineOptions
    default: Answer | None = None
    asked: list[Asked] = field(default_factory=list)
    state: EngineState = field(default_factory=lambda: EngineState("ready", "The engine is ready."))

    async def complete(self, request: CompletionRequest) -> Completion | None:
        one = Asked(request, asyncio.get_running_loop().create_future())
        self.asked.append(one)
        try:
            one.answer = self.default or await one.done
        except asyncio.CancelledError:
            one.is_cancelled = True
            raise
        return None if one.answer is None else completion_of(request, one.answer, "fake")

    @property
    def requests(self) -> list[CompletionRequest]:
        return [each.request for each in self.asked]

    @property
    def open(self) -> list[Asked]:
        return [each for each in self.asked if each.is_open and each.answer is None]

    def start(self) -> None:
        pass

    async def close(self) -> None:
        pass


@dataclass
class Session:
    """A server, initialized, with one client that keeps its own copy of each document."""

    client: str = "tests"
    options: dict[str, Any] = field(default_factory=dict)
    default: Answer | None = None

    def __post_init__(self) -> None:
        address = EngineAddress(socket=Path("/nonexistent/engine.sock"))
        options = EngineOptions(address, may_start=False)
        self.server: NemoDiffServer = create_server(options)
        self.link = ScriptedLink(options, self.default)
        self.server.link = self.link  # type: ignore[assignment]
        self.replies: dict[Any, list[dict[str, Any]]] = {}
        self.notes: list[dict[str, Any]] = []
        self.texts: dict[str, str] = {}
        self.versions: dict[str, int] = {}
        self._num_requests = 0
        self.server.protocol.set_writer(self, include_headers=False)  # type: ignore[arg-type]

    def write(self, data: bytes) -> None:
        message = json.loads(data)
        if "id" in message and "method" not in message:
            self.replies.setdefault(message["id"], []).append(message)
        else:
            self.notes.append(message)

    def close(self) -> None:
        pass

    def send(self, message: dict[str, Any]) -> None:
        protocol = self.server.protocol
        body = json.dumps({"jsonrpc": "2.0", **message})
        protocol.handle_message(json.loads(body, object_hook=protocol.structure_message))

    def notify(self, method: str, params: Any) -> None:
        self.send({"method": method, "params": params})

    def request(self, method: str, params: Any) -> int:
        self._num_requests += 1
        self.send({"id": self._num_requests, "method": method, "params": params})
        return self._num_requests

    async def initialize(self, capabilities: dict[str, Any] | None = None) -> dict[str, Any]:
        defaults = {"prefetch": False, "debounceMs": 0, "context": False, "statistics": False}
        limits = {"maxRequestsPerSecond": 1000, "deadlineMs": 60_000, "invokedDeadlineMs": 60_000}
        params = {
            "processId": None,
            "rootUri": None,
            "capabilities": capabilities or {},
            "clientInfo": {"name": self.client},
            "initializationOptions": {**defaults, **limits, **self.options},
        }
        answer = await self.reply(self.request("initialize", params))
        self.notify("initialized", {})
        messages = [note for note in self.notes if note["method"] == "window/showMessage"]
        assert messages == [], "the options of a test are all known"
        return answer

    def open(self, text: str, uri: str = URI, language_id: str = "plaintext") -> None:
        self.texts[uri] = text
        self.versions[uri] = self.versions.get(uri, 0) + 1
        item = {"uri": uri, "languageId": language_id, "version": self.versions[uri], "text": text}
        self.notify("textDocument/didOpen", {"textDocument": item})

    def shut(self, uri: str = URI) -> None:
        del self.texts[uri]
        self.notify("textDocument/didClose", {"textDocument": {"uri": uri}})

    def edit(self, start: int, end: int, new: str, uri: str = URI) -> None:
        """Replace `start` to `end` of the document (indices) and tell the server."""
        text = self.texts[uri]
        where = {"start": position(text, start), "end": position(text, end)}
        self.texts[uri] = text[:start] + new + text[end:]
        self.versions[uri] += 1
        identifier = {"uri": uri, "version": self.versions[uri]}
        changes = [{"range": where, "text": new}]
        self.notify(
            "textDocument/didChange", {"textDocument": identifier, "contentChanges": changes}
        )

    def type(self, at: int, new: str, uri: str = URI) -> int:
        """Insert `new` at `at`; where the cursor is then."""
        self.edit(at, at, new, uri)
        return at + len(new)

    def ask(self, at: int, *, uri: str = URI, is_invoked: bool = False) -> int:
        """Ask for a completion at index `at`; the request's id."""
        params = {
            "textDocument": {"uri": uri},
            "position": position(self.texts[uri], at),
            "context": {"triggerKind": 1 if is_invoked else 2},
        }
        return self.request(INLINE, params)

    def cancel(self, msg_id: int) -> None:
        self.notify("$/cancelRequest", {"id": msg_id})

    async def reply(self, msg_id: int) -> dict[str, Any]:
        """The reply to a request, of which there must be one."""
        async with asyncio.timeout(GUARD_S):
            while msg_id not in self.replies:
                await asyncio.sleep(0.001)
        (answer,) = self.replies[msg_id]
        return answer

    async def texts_at(self, at: int, *, uri: str = URI, is_invoked: bool = False) -> list[str]:
        """Ask and wait; the texts that are offered."""
        answer = await self.reply(self.ask(at, uri=uri, is_invoked=is_invoked))
        return [item["insertText"] for item in answer["result"]["items"]]

    async def asked(self, count: int) -> Asked:
        """Wait until the engine has been asked `count` times; the last one."""
        async with asyncio.timeout(GUARD_S):
            while len(self.link.asked) < count:
                await asyncio.sleep(0.001)
        return self.link.asked[count - 1]

    @staticmethod
    async def settle() -> None:
        """Let everything run that can run without time passing."""
        for _ in range(30):
            await asyncio.sleep(0)


def position(text: str, index: int) -> dict[str, int]:
    line = text.count("\n", 0, index)
    start = text.rfind("\n", 0, index) + 1
    return {"line": line, "character": len(text[start:index].encode("utf-16-le")) // 2}


def whole(*texts: str) -> Answer:
    """An engine's answer that has come to its end."""
    return Answer(texts=texts)


def draft(text: str) -> Answer:
    """An engine's answer that a deadline has cut."""
    return Answer(texts=(text,), finish_reason="deadline")


def texts_in(replies: Sequence[dict[str, Any]]) -> list[list[str]]:
    return [[item["insertText"] for item in reply["result"]["items"]] for reply in replies]
