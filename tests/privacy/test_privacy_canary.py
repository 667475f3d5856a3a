"""A canary in the text, the path and the completion: it is nowhere but where it must be.

Whole sessions of real processes in a world of their own, of which every file is searched after.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from fake_engine import Answer, FakeEngine
from raw_server import RawServer

INLINE = "textDocument/inlineCompletion"
TEXT, PATH, ANSWER = "kanarientext", "kanarienpfad", "kanarienantwort"
CANARIES = (TEXT, PATH, ANSWER)
TINY = Path(__file__).parents[1] / "tiny_model" / "checkpoint"


def place(uri: str, line: int = 0, character: int = 0) -> dict[str, Any]:
    return {
        "textDocument": {"uri": uri},
        "position": {"line": line, "character": character},
        "context": {"triggerKind": 2},
    }


class Session:
    """An editor's session with a language server that logs into a file."""

    def __init__(self, world: Path, socket: Path, level: str = "INFO") -> None:
        self.log = world / "server.log"
        self.folder = world / f"{PATH}-folder"
        self.uri = (self.folder / f"{PATH}.py").as_uri()
        self.version = 1
        self.num_asked = 0
        self.server = RawServer(
            *("--engine-socket", str(socket), "--no-engine-start"),
            *("--log-level", level, "--log-file", str(self.log)),
        )

    def start(self) -> None:
        params = {
            "processId": None,
            "rootUri": self.folder.as_uri(),
            "workspaceFolders": [{"uri": self.folder.as_uri(), "name": PATH}],
            "capabilities": {},
            "initializationOptions": {"debounceMs": 0, "maxTokens": 8, "prefetch": False},
        }
        self.server.request("initialize", params, "initialize")
        self.server.notify("initialized", {})

    def open(self, text: str, uri: str | None = None) -> None:
        item = {"uri": uri or self.uri, "languageId": "python", "version": 1, "text": text}
        self.server.notify("textDocument/didOpen", {"textDocument": item})

    def change(self, text: str) -> None:
        self.version += 1
        identifier = {"uri": self.uri, "version": self.version}
        params = {"textDocument": identifier, "contentChanges": [{"text": text}]}
        self.server.notify("textDocument/didChange", params)

    def ask(self, method: str, params: object) -> Any:
        self.num_asked += 1
        return self.server.request(method, params, f"ask-{self.num_asked}")

    def complete(self, text: str, *, is_invoked: bool = True) -> list[str]:
        self.change(text)
        lines = text.split("\n")
        params = place(self.uri, len(lines) - 1, len(lines[-1]))
        params["context"]["triggerKind"] = 1 if is_invoked else 2
        result = self.ask(INLINE, params)["result"]
        return [item["insertText"] for item in (result or {"items": []})["items"]]


def misbehave(session: Session) -> None:
    """All that a client may send that is odd, with the canary in it."""
    broken = place(session.uri)
    broken["position"] = {"line": TEXT, "character": TEXT}
    session.ask(INLINE, broken)
    session.ask(INLINE, place(f"file:///{PATH}/never-opened.py"))
    session.ask("workspace/executeCommand", {"command": TEXT, "arguments": [TEXT]})
    session.ask("workspace/executeCommand", {"command": "nemodiff.why", "arguments": [PATH]})
    session.ask("workspace/executeCommand", {"command": "nemodiff.fillHoles", "arguments": [TEXT]})
    session.ask("workspace/executeCommand", {"command": "nemodiff.setMode", "arguments": [TEXT]})
    session.ask(f"{TEXT}/{PATH}", {TEXT: TEXT})
    for method in ("textDocument/didShowCompletion", "textDocument/didPartiallyAcceptCompletion"):
        item = {
            "insertText": TEXT,
            "command": {"title": TEXT, "command": TEXT, "arguments": [TEXT]},
        }
        session.server.notify(method, {"item": item, "acceptedLength": 4})
    session.server.notify("textDocument/didFocus", {"textDocument": {"uri": f"file:///{PATH}"}})
    session.server.notify(f"$/{TEXT}", {TEXT: TEXT})
    session.server.notify("textDocument/didChange", {"textDocument": TEXT})
    never = {"uri": f"file:///{PATH}.py", "version": 2}
    session.server.notify(
        "textDocument/didChange", {"textDocument": never, "contentChanges": [{"text": TEXT}]}
    )
    session.server.notify("textDocument/didClose", {"textDocument": {"uri": f"file:///{PATH}"}})
    session.server.send_bytes(f'{{"jsonrpc": "2.0", "{TEXT}"'.encode())
    session.server.send_bytes(f'{{"jsonrpc": "1.0", "method": "{TEXT}"}}'.encode())
    settings = {"nemodiff": {"excludePatterns": [f"{PATH}-elsewhere"], "deadlineMs": TEXT}}
    session.server.notify("workspace/didChangeConfiguration", {"settings": settings})


def files_with_canaries(world: Path) -> list[str]:
    """Every file whose name or content holds one."""
    found = []
    for path in world.rglob("*"):
        content = path.read_bytes() if path.is_file() else b""
        for canary in CANARIES:
            if canary in str(path.relative_to(world)) or canary.encode() in content:
                found.append(f"{path.relative_to(world)}: {canary}")
    return found


def test_a_session_with_an_engine_that_fails_now_and_then(world: Path) -> None:
    socket = world / "engine.sock"
    with FakeEngine(socket, default=Answer(texts=(f"{ANSWER}(1)",))) as engine:
        session = Session(world, socket)
        with session.server as server:
            session.start()
            session.open(f"import {TEXT}\n")
            texts = session.complete(f"import {TEXT}\nx = ")
            assert texts == [f"{ANSWER}(1)"]
            session.change(f"import {TEXT}\nx = {ANSWER}(1)")
            engine.script.append(Answer(status=500, error="The engine failed."))
            assert session.complete(f"import {TEXT}\ny = ") == []
            engine.script.append(Answer(texts=("",), gated=True))
            session.complete(f"import {TEXT}\nz = ", is_invoked=False)
            session.open(f"PASSWORD={TEXT}\n", (session.folder / ".env").as_uri())
            secret = place((session.folder / ".env").as_uri(), 0, 9)
            assert session.ask(INLINE, secret)["result"]["items"] == []
            misbehave(session)
            engine.stop()
            session.complete(f"import {TEXT}\nv = ")
            engine.start()
            assert session.complete(f"import {TEXT}\nw = ") == [f"{ANSWER}(1)"]
            assert server.finish() == 0
            errors = server.stderr()
        sent = [request.prompt for request in engine.requests]
    assert any(TEXT in prompt for prompt in sent), (
        "the engine must have seen it, or nothing is shown"
    )
    assert not any("PASSWORD" in prompt for prompt in sent)
    assert not any(canary in errors for canary in CANARIES), errors
    assert "forwards" in session.log.read_text(), "the log must hold something"
    statistics = world / "home/.local/state/nemodiff/statistics.json"
    assert '"accepted":1' in statistics.read_text(), "the statistics must hold something"
    assert files_with_canaries(world) == []


def test_the_search_would_find_one(world: Path) -> None:
    """At DEBUG the user has asked for all of it: the same session leaves canaries behind."""
    socket = world / "engine.sock"
    with FakeEngine(socket):
        session = Session(world, socket, "DEBUG")
        with session.server as server:
            session.start()
            session.open(f"import {TEXT}\n")
            misbehave(session)
            assert server.finish() == 0
    assert f"server.log: {TEXT}" in files_with_canaries(world)


@pytest.mark.slow
def test_a_session_with_a_real_engine(world: Path) -> None:
    """The engine process with the small trained model: its log and its folders, too."""
    socket = world / "engine.sock"
    log_path = world / "engine.log"
    command = [sys.executable, "-m", "engine", "engine", "serve", "--socket", str(socket)]
    command += ["--model", str(TINY), "--device", "cpu", "--threads", "1", "--log-level", "INFO"]
    with log_path.open("wb") as log:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log)
    try:
        assert process.stdout is not None
        assert b"listens on" in process.stdout.readline(), log_path.read_text()
        session = Session(world, socket)
        with session.server as server:
            session.start()
            session.open(f"{TEXT} = 1\n")
            for number in range(3):
                session.complete(f"{TEXT} = 1\nx{number} = ")
            misbehave(session)
            session.complete(f"{TEXT} = 2\ny = ")
            assert server.finish() == 0
    finally:
        process.terminate()
        process.wait(60)
        process.stdout.close()
    assert log_path.read_text(), "the log must hold something"
    assert session.log.read_text()
    assert files_with_canaries(world) == []
