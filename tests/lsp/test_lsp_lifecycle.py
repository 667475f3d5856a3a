"""The life of a server process: messages before initialize, shutdown, exit codes, a dead client."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from fake_engine import GUARD_S, Answer, FakeEngine
from raw_server import RawServer, arguments_for, inline_request

INLINE = "textDocument/inlineCompletion"


def test_a_request_after_shutdown_is_refused(engine: FakeEngine, socket_path: Path) -> None:
    with RawServer(*arguments_for(socket_path)) as server:
        server.initialize()
        server.open_text("x = ")
        server.request("shutdown", None, "shutdown")
        assert server.request(INLINE, inline_request(0, 4))["error"]["code"] == -32600
        server.notify("exit", None)
        assert server.process.wait(30) == 0


def test_a_request_before_initialize_is_refused(engine: FakeEngine, socket_path: Path) -> None:
    with RawServer(*arguments_for(socket_path)) as server:
        server.open_text("x = ")
        assert server.request(INLINE, inline_request(0, 4))["error"]["code"] == -32002
        assert server.request("shutdown", None, "early")["error"]["code"] == -32002
        server.initialize()
        server.open_text("x = ")
        answer = server.request(INLINE, inline_request(0, 4), 2)
        assert answer["result"]["items"][0]["insertText"] == "pass"
        assert server.finish() == 0
        assert server.stderr() == "", "what comes too early is dropped without a sound"


@pytest.mark.parametrize("is_initialized", [False, True])
def test_exit_without_shutdown_ends_with_code_1(
    engine: FakeEngine, socket_path: Path, is_initialized: bool
) -> None:
    with RawServer(*arguments_for(socket_path)) as server:
        if is_initialized:
            server.initialize()
        server.notify("exit", None)
        assert server.process.wait(30) == 1


def test_exit_right_behind_shutdown_ends_with_code_0(engine: FakeEngine, socket_path: Path) -> None:
    with RawServer(*arguments_for(socket_path)) as server:
        server.initialize()
        message = {"jsonrpc": "2.0", "id": "end", "method": "shutdown", "params": None}
        server.send_bytes(json.dumps(message).encode())
        server.notify("exit", None)
        assert server.process.wait(30) == 0


def test_shutdown_closes_what_is_in_flight(engine: FakeEngine, socket_path: Path) -> None:
    engine.default = Answer(is_held=True)
    with RawServer(*arguments_for(socket_path)) as server:
        server.initialize()
        server.open_text("x = ")
        params = inline_request(0, 4)
        message = {"jsonrpc": "2.0", "id": "held", "method": INLINE, "params": params}
        server.send_bytes(json.dumps(message).encode())
        engine.wait_until(lambda: len(engine.requests) == 1)
        assert server.finish() == 0
        engine.wait_until(lambda: len(engine.disconnected) == 1)


def test_a_client_that_dies_ends_server_and_request(engine: FakeEngine, socket_path: Path) -> None:
    engine.default = Answer(is_held=True)
    with RawServer(*arguments_for(socket_path)) as server:
        server.initialize()
        server.open_text("x = ")
        message = {"jsonrpc": "2.0", "id": 9, "method": INLINE, "params": inline_request(0, 4)}
        server.send_bytes(json.dumps(message).encode())
        engine.wait_until(lambda: len(engine.requests) == 1)
        assert server.process.stdin is not None
        server.process.stdin.close()
        assert server.process.wait(30) is not None
        engine.wait_until(lambda: len(engine.disconnected) == 1)
        assert "Traceback" not in server.stderr()
        server.process.stdin = None


def framed(*messages: dict[str, Any]) -> bytes:
    bodies = [json.dumps({"jsonrpc": "2.0", **message}).encode() for message in messages]
    return b"".join(b"Content-Length: %d\r\n\r\n%s" % (len(body), body) for body in bodies)


def test_messages_that_come_in_one_piece_are_taken_one_by_one(
    engine: FakeEngine, socket_path: Path
) -> None:
    """The reader has them all at once, yet each request meets the text that it was made for."""
    with RawServer(*arguments_for(socket_path)) as server:
        server.initialize()
        server.open_text("x = ")
        place = {"line": 0, "character": 4}
        change = {"range": {"start": place, "end": place}, "text": "a"}
        identifier = {"uri": "file:///a.py", "version": 2}
        changed = {"textDocument": identifier, "contentChanges": [change]}
        server.send_raw(
            framed(
                {"id": 1, "method": INLINE, "params": inline_request(0, 4)},
                {"method": "textDocument/didChange", "params": changed},
                {"id": 2, "method": INLINE, "params": inline_request(0, 5)},
                {"id": 3, "method": INLINE, "params": inline_request(0, 5)},
            )
        )
        answers = {number: server.answer(number)["result"] for number in (1, 2, 3)}
        assert answers[1] is answers[2] is None
        assert answers[3]["items"][0]["insertText"] == "pass"
        assert server.finish() == 0


def test_an_endless_header_does_not_stop_the_server(engine: FakeEngine, socket_path: Path) -> None:
    with RawServer(*arguments_for(socket_path)) as server:
        server.initialize()
        server.send_raw(b"X-Odd: " + b"y" * 300_000 + b"\r\n")
        server.open_text("x = ")
        answer = server.request(INLINE, inline_request(0, 4))
        assert answer["result"]["items"][0]["insertText"] == "pass"
        assert server.finish() == 0


def test_input_that_is_no_pipe_is_read_all_the_same(tmp_path: Path) -> None:
    params = {"processId": None, "rootUri": None, "capabilities": {}}
    script = tmp_path / "messages"
    script.write_bytes(
        framed(
            {"id": 1, "method": "initialize", "params": params},
            {"id": 2, "method": "shutdown", "params": None},
            {"method": "exit", "params": None},
        )
    )
    command = [sys.executable, "-m", "nemodiff_lsp", "--no-engine-start"]
    with script.open("rb") as stdin:
        done = subprocess.run(command, stdin=stdin, capture_output=True, timeout=GUARD_S)
    assert done.returncode == 0
    bodies = done.stdout.split(b"\r\n\r\n")[1:]
    answers = [json.JSONDecoder().raw_decode(body.decode())[0] for body in bodies]
    assert [answer["id"] for answer in answers if "id" in answer] == [1, 2]
