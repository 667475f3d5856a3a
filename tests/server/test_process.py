"""The engine as a process: one line on stdout, signals, failed loads, and nothing told to a log."""

from __future__ import annotations

import signal
import socket
import stat
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from engine.messages.address import EngineAddress
from engine.messages.client import EngineClient, EngineRefused, TextDelta
from engine.messages.completion import CompletionRequest
from tests.server.scripted_engine import ENDLESS, ENGINE_ERROR, FAULT
from tests.server.server_harness import ROOT, StartProcess


def test_announces_where_it_listens_and_nothing_else(
    start_process: StartProcess, short_path: Path
) -> None:
    path = short_path / "own" / "engine.sock"
    running = start_process("--socket", str(path))
    assert running.announcement == f"NemoDiff listens on unix:{path}\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    with EngineClient(EngineAddress(socket=path)) as client:
        client.complete(CompletionRequest(prompt="p"))
    running.process.send_signal(signal.SIGTERM)
    assert running.wait() == 0
    assert running.rest_of_stdout() == ""
    assert "a library's chatter" in running.log


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_cancels_the_work_and_removes_the_socket(
    start_process: StartProcess, short_path: Path, number: signal.Signals
) -> None:
    path = short_path / "engine.sock"
    running = start_process("--socket", str(path))
    with EngineClient(EngineAddress(socket=path)) as client:
        stream = client.stream(CompletionRequest(prompt=ENDLESS, max_tokens=4096))
        assert isinstance(next(iter(stream)), TextDelta)
        running.process.send_signal(number)
        *_, completion = stream
    assert completion.choices[0].finish_reason == "cancelled"  # type: ignore[union-attr]
    assert running.wait() == 0
    assert not path.exists()
    assert "Traceback" not in running.log


def test_tcp_port_in_use_is_one_sentence(start_process: StartProcess) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        running = start_process("--port", str(port))
        assert running.wait() == 1
    assert running.log.splitlines() == [
        f"nemodiff: Port {port} of 127.0.0.1 is in use by another program; choose another --port."
    ]


def test_tcp_announces_its_url_and_serves(start_process: StartProcess) -> None:
    running = start_process("--port", "0")
    url = running.announcement.removeprefix("NemoDiff listens on ").strip()
    with EngineClient(EngineAddress.parse(url)) as client:
        assert client.complete(CompletionRequest(prompt="ab")).choices[0].text == "ba"


def test_stale_socket_is_taken_over_and_a_live_one_is_not(
    start_process: StartProcess, short_path: Path
) -> None:
    path = short_path / "engine.sock"
    address = EngineAddress(socket=path)
    killed = start_process("--socket", str(path))
    killed.process.kill()
    killed.wait()
    assert path.is_socket()
    heir = start_process("--socket", str(path))
    with EngineClient(address) as client:
        assert client.health()["pid"] == heir.process.pid
        rival = start_process("--socket", str(path))
        assert rival.wait() == 1
        assert rival.log.splitlines() == [
            f"nemodiff: An engine already listens on {address}; use it, or stop it with "
            "`nemodiff engine stop`."
        ]
        assert client.health()["pid"] == heir.process.pid


def test_file_in_the_place_of_the_socket_is_kept(
    start_process: StartProcess, short_path: Path
) -> None:
    path = short_path / "engine.sock"
    path.write_text("precious")
    running = start_process("--socket", str(path))
    assert running.wait() == 1
    assert "is not a socket" in running.log
    assert path.read_text() == "precious"


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        ("sentence", "The file model.safetensors is truncated; pull the model again."),
        ("surprise", "The model could not be loaded (RuntimeError: out of cheese)."),
    ],
)
def test_failed_load_ends_the_process_with_one_sentence(
    start_process: StartProcess, short_path: Path, kind: str, sentence: str
) -> None:
    path = short_path / "engine.sock"
    running = start_process("--socket", str(path), "--fail-load", kind)
    assert running.wait() == 1
    assert running.log.splitlines()[-1] == f"nemodiff: {sentence}"
    # The traceback of a surprise is for the log; a known error has none.
    assert ("Traceback" in running.log) == (kind == "surprise")
    assert not path.exists()


def test_signal_ends_a_load_that_hangs(start_process: StartProcess, short_path: Path) -> None:
    """Native code in a load cannot be interrupted; the process must end all the same."""
    path = short_path / "engine.sock"
    running = start_process("--socket", str(path), "--hang-load")
    with EngineClient(EngineAddress(socket=path)) as client:
        assert client.health()["state"] == "loading"
    running.process.send_signal(signal.SIGTERM)
    assert running.wait() == 0
    assert not path.exists()


def test_no_text_in_log_or_metrics(start_process: StartProcess, short_path: Path) -> None:
    """A canary in every field a client can fill, through every way an answer can end."""
    path = short_path / "engine.sock"
    running = start_process("--socket", str(path), "--log-level", "INFO")
    canary = "kanarienvogel"
    requests = [
        {"prompt": canary, "suffix": canary, "document": canary, "stop": [canary]},
        {"prompt": canary, "stream": True},
        {"prompt": FAULT + canary},
        {"prompt": FAULT + canary, "stream": True},
        {"prompt": ENGINE_ERROR + canary},
        {"prompt": canary, "model": canary},
        {"prompt": canary, "mode": canary},
        {"prompt": canary, canary: 1},
    ]
    transport = httpx.HTTPTransport(uds=str(path))
    with httpx.Client(transport=transport, base_url="http://localhost") as http:
        statuses = [http.post("/v1/completions", json=body).status_code for body in requests]
        assert statuses == [200, 200, 500, 500, 500, 404, 400, 400]
        http.post("/v1/completions", content=f'{{"prompt": "{canary}'.encode())
        http.get(f"/{canary}?{canary}")
        metrics = http.get("/metrics").text
    running.process.send_signal(signal.SIGTERM)
    assert running.wait() == 0
    assert "A request failed with KeyError" in running.log
    assert canary not in running.log
    assert canary not in metrics
    assert 'nemodiff_requests_total{mode="ar",outcome="stop",route="fim"} 1.0' in metrics
    assert 'nemodiff_http_responses_total{status="404"} 2.0' in metrics
    assert "nemodiff_forwards_total 10.0" in metrics
    assert 'nemodiff_stage_ms_count{stage="decode"} 2.0' in metrics


COMMAND_ERRORS = [
    (["--socket", "/nd-x/../proc/nd/engine.sock"], 1, "cannot be made"),
    (["--socket", "/" + "x" * 200], 1, "bytes long"),
    (["--socket", "{folder}/open/engine.sock"], 1, "chmod 700"),
    (["--socket", "{folder}/e.sock", "--port", "1"], 2, "choose one of"),
    (["--port", "70000"], 2, "not a port"),
    (["--threads", "0"], 2, "whole number above 0"),
    (["--dtype", "int3"], 2, "invalid choice"),
    (["--host", "no.such.host.invalid", "--port", "0"], 1, "no address of this machine"),
]


@pytest.mark.parametrize(("flags", "code", "message"), COMMAND_ERRORS)
def test_serve_command_refuses_in_one_sentence(
    short_path: Path, flags: list[str], code: int, message: str
) -> None:
    (short_path / "open").mkdir()
    (short_path / "open").chmod(0o755)
    filled = [flag.replace("{folder}", str(short_path)) for flag in flags]
    ended = subprocess.run(
        [sys.executable, "-m", "engine", "engine", "serve", *filled],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == code
    assert message in ended.stderr.splitlines()[-1]
    assert "Traceback" not in ended.stderr
    assert ended.stdout == ""


def test_refused_request_of_a_process_carries_its_sentence(
    start_process: StartProcess, short_path: Path
) -> None:
    path = short_path / "engine.sock"
    start_process("--socket", str(path))
    with (
        EngineClient(EngineAddress(socket=path)) as client,
        pytest.raises(EngineRefused, match="does not fit into this model"),
    ):
        client.complete(CompletionRequest(prompt=ENGINE_ERROR))
