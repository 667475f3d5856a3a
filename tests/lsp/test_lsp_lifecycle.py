"""The life of a server process: messages before initialize, shutdown, exit codes, a dead client."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from fake_engine import Answer, FakeEngine
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
