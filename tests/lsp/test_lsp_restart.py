"""nemodiff.restartEngine with real processes: a new engine, also for the other windows."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from raw_server import RawServer
from test_lsp_ten_windows import (
    SCRIPTED,
    WAIT_S,
    ask_until_answered,
    count_file,
    engine_pids,
    open_window,
    runtime,
)

from engine.messages.address import EngineAddress
from engine.messages.errors import EngineUnavailable
from engine.messages.listener import engine_process, is_engine_command
from engine.messages.processes import wait_for_end
from engine.messages.retire import stop_engine

__all__ = ["count_file", "runtime"]


def restart(window: RawServer) -> object:
    params = {"command": "nemodiff.restartEngine", "arguments": []}
    return window.request("workspace/executeCommand", params, "restart")["result"]


@pytest.mark.parametrize("is_hung", [False, True], ids=["healthy", "hung"])
def test_a_restart_gives_every_window_a_new_engine(
    runtime: Path, count_file: Path, is_hung: bool
) -> None:
    windows = [open_window(number, program=SCRIPTED, arguments=()) for number in range(2)]
    try:
        for number, window in enumerate(windows):
            assert ask_until_answered(window, number)
        (old,) = engine_pids(runtime)
        assert engine_process(EngineAddress.within(runtime)) == old
        if is_hung:
            os.kill(old, signal.SIGSTOP)
        assert restart(windows[0]) is True
        assert wait_for_end(old, WAIT_S)
        for number, window in enumerate(windows):
            assert ask_until_answered(window, number)
        (new,) = engine_pids(runtime)
        assert count_file.read_text().split() == [str(old), str(new)] and new != old
    finally:
        assert [window.finish() for window in windows] == [0, 0]


def test_a_silent_stranger_on_the_socket_is_not_killed(
    socket_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.messages.client._CONNECT_TIMEOUT_S", 0.2)
    script = (
        "import socket, sys, time\n"
        "s = socket.socket(socket.AF_UNIX); s.bind(sys.argv[1]); s.listen(9)\n"
        "print('up', flush=True); time.sleep(600)\n"
    )
    command = [sys.executable, "-c", script, str(socket_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as stranger:
        try:
            assert stranger.stdout is not None and stranger.stdout.readline() == b"up\n"
            address = EngineAddress(socket=socket_path)
            with pytest.raises(EngineUnavailable):
                stop_engine(address)
            assert stranger.poll() is None and engine_process(address) is None
        finally:
            stranger.kill()


@pytest.mark.parametrize(
    ("command", "is_engine"),
    [
        (["python", "-P", "-m", "engine", "engine", "serve", "--socket", "/r/e.sock"], True),
        (["python", "/usr/bin/nemodiff", "engine", "serve"], True),
        (["python", "stand_in.py", "engine", "serve", "--socket", "/r/e.sock"], True),
        (["python", "stand_in.py", "engine", "serve", "--socket", "/r/other.sock"], False),
        (["python", "-m", "http.server", "/r/e.sock"], False),
        (["game", "engine", "serve"], False),
        (["engine", "serve"], False),
        ([], False),
    ],
)
def test_an_engine_is_known_by_its_command(command: list[str], is_engine: bool) -> None:
    address = EngineAddress(socket=Path("/r/e.sock"))
    assert is_engine_command(command, address) is is_engine
