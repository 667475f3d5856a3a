"""RawServer: a language server driven by hand-made messages, for what a well-behaved client hides.

Used by the tests that send what pygls' own client cannot, or that look at stderr and the exit.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from fake_engine import GUARD_S


class RawServer:
    """One server process; messages are plain dictionaries."""

    def __init__(self, *arguments: str, program: tuple[str, ...] = ("-m", "nemodiff_lsp")) -> None:
        self._errors = tempfile.TemporaryFile()
        self.process = subprocess.Popen(
            [sys.executable, *program, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
        )
        self.notes: list[dict[str, Any]] = []

    def __enter__(self) -> RawServer:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate(timeout=GUARD_S)

    def send_bytes(self, body: bytes) -> None:
        self.send_raw(b"Content-Length: %d\r\n\r\n%s" % (len(body), body))

    def send_raw(self, data: bytes) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(data)
        self.process.stdin.flush()

    def notify(self, method: str, params: Any) -> None:
        message = {"jsonrpc": "2.0", "method": method, "params": params}
        self.send_bytes(json.dumps(message).encode())

    def request(self, method: str, params: Any, msg_id: int | str = 1) -> dict[str, Any]:
        """Send a request and return its answer; notifications before it go to `notes`."""
        message = {"jsonrpc": "2.0", "id": msg_id, "method": method, "params": params}
        self.send_bytes(json.dumps(message).encode())
        return self.answer(msg_id)

    def answer(self, msg_id: int | str) -> dict[str, Any]:
        while True:
            message = self.read()
            if message.get("id") == msg_id and "method" not in message:
                return message
            self.notes.append(message)

    def read(self) -> dict[str, Any]:
        """The next message. Fails when stdout holds anything but the protocol."""
        assert self.process.stdout is not None
        num_bytes = 0
        while (line := self.process.stdout.readline()) != b"\r\n":
            assert line, f"the server went away: {self.stderr()}"
            name, _, value = line.partition(b":")
            assert name in (b"Content-Length", b"Content-Type"), line
            if name == b"Content-Length":
                num_bytes = int(value)
        message = json.loads(self.process.stdout.read(num_bytes))
        assert isinstance(message, dict)
        return message

    def initialize(self, options: object = None) -> dict[str, Any]:
        params = {"processId": None, "rootUri": None, "capabilities": {}}
        if options is not None:
            params["initializationOptions"] = options
        answer = self.request("initialize", params, "initialize")
        self.notify("initialized", {})
        return answer

    def open_text(self, text: str, uri: str = "file:///a.py") -> None:
        item = {"uri": uri, "languageId": "python", "version": 1, "text": text}
        self.notify("textDocument/didOpen", {"textDocument": item})

    def finish(self) -> int:
        """Say shutdown and exit; the exit code."""
        assert self.request("shutdown", None, "shutdown")["result"] is None
        self.notify("exit", None)
        return self.process.wait(GUARD_S)

    def stderr(self) -> str:
        self._errors.seek(0)
        return self._errors.read().decode("utf-8", "replace")


def inline_request(line: int, character: int, trigger_kind: Any = 2) -> dict[str, Any]:
    return {
        "textDocument": {"uri": "file:///a.py"},
        "position": {"line": line, "character": character},
        "context": {"triggerKind": trigger_kind},
    }


def arguments_for(socket: Path, *more: str) -> tuple[str, ...]:
    return ("--engine-socket", str(socket), "--no-engine-start", *more)
