"""`nemodiff engine start|status`: waits for the model, tells why there is none, makes no folder."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.cli.main import main
from engine.messages.address import EngineAddress
from engine.messages.client import EngineClient, EngineUnavailable
from engine.messages.completion import CompletionRequest
from engine.messages.launch import default_log_path, ensure_engine, stop_engine
from engine.messages.readiness import last_failure, wait_until_ready
from tests.server.scripted_engine import ScriptedEngine
from tests.server.server_harness import SCRIPT, Harness, StartProcess, run_server

COMMAND = (sys.executable, str(SCRIPT))


@pytest.fixture
def address(short_path: Path) -> Iterator[EngineAddress]:
    """An address nobody listens on yet; whatever is started there is stopped with the test."""
    found = EngineAddress(socket=short_path / "engine.sock")
    yield found
    stop_engine(found)


@pytest.fixture
def isolated(short_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Nothing of the user's own, in this process and in the engines that it starts."""
    monkeypatch.setenv("NEMODIFF_CACHE", str(short_path / "cache"))
    monkeypatch.setenv("NEMODIFF_RUNTIME_DIR", str(short_path / "runtime"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return short_path


def test_start_tells_why_the_model_cannot_be_loaded(
    isolated: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The real engine, with a model that does not exist; then `status` still knows."""
    bad = isolated / "no-such-model"
    assert main(["engine", "start", "--model", str(bad)]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines()[-1] == f"nemodiff: {bad} does not exist."
    assert main(["engine", "status", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["state"], told["last_failure"]) == ("none", f"{bad} does not exist.")
    assert main(["engine", "status"]) == 0
    assert f"The last one ended by an error: {bad} does not exist." in capsys.readouterr().out


def test_start_without_waiting_returns_while_the_model_is_loaded(
    isolated: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["engine", "start", "--no-wait", "--model", str(isolated / "none")]) == 0
    assert "`nemodiff engine status` tells when" in capsys.readouterr().out
    stop_engine(EngineAddress(socket=isolated / "runtime" / "engine.sock"))


def test_waiting_ends_when_the_engine_is_ready(short_path: Path) -> None:
    """The load goes on only after its first step was reported to the one who waits."""
    engine = ScriptedEngine()
    phases: list[tuple[str, float | None]] = []
    go_on = threading.Event()

    def load(report: object) -> ScriptedEngine:
        report("reading weights", 0.5)  # type: ignore[operator]
        assert go_on.wait(60)
        return engine

    def seen(phase: str, fraction: float | None) -> None:
        phases.append((phase, fraction))
        if phase == "reading weights":
            go_on.set()

    with (
        run_server(engine, short_path, load=load) as running,
        EngineClient(running.address) as client,
    ):
        assert wait_until_ready(client, seen)["state"] == "ready"
    assert phases[-1] == ("reading weights", 0.5)


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        ("sentence", "The file model.safetensors is truncated"),
        ("surprise", r"The model could not be loaded \(RuntimeError: out of cheese\)"),
    ],
)
def test_waiting_ends_with_the_engines_last_words(
    address: EngineAddress, kind: str, sentence: str
) -> None:
    pid = ensure_engine(address, command=COMMAND, arguments=["--fail-load", kind])
    with (
        EngineClient(address) as client,
        pytest.raises(EngineUnavailable, match=sentence),
    ):
        wait_until_ready(client, lambda phase, fraction: None, pid=pid)


def test_waiting_is_bounded(address: EngineAddress) -> None:
    ensure_engine(address, command=COMMAND, arguments=["--hang-load"])
    with (
        EngineClient(address) as client,
        pytest.raises(EngineUnavailable, match="has been loading its model for 0 s"),
    ):
        wait_until_ready(client, lambda phase, fraction: None, timeout_s=0.0)


def test_another_model_is_not_taken_for_the_one_that_was_asked_for(
    short_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = short_path / "model"
    folder.mkdir()
    monkeypatch.chdir(short_path)
    with run_server(ScriptedEngine(model=str(folder)), short_path) as running:
        with EngineClient(running.address) as client:
            client.complete(CompletionRequest(prompt="until it is ready"))
        command = ["engine", "start", "--socket", str(running.address)]
        assert main([*command, "--model", "other"]) == 1
        assert capsys.readouterr().err.splitlines() == [
            f"nemodiff: An engine runs with {folder}, not other; stop it first "
            "(`nemodiff engine stop`)."
        ]
        # The default model is another one too, once it is asked for by name; "" is none at all.
        assert main([*command, "--model", "qwen2.5-coder-0.5b"]) == 1
        assert main([*command, "--model", ""]) == 1
        for same in ([], ["--model", str(folder)], ["--model", "./model"], ["--model", "scripted"]):
            assert main([*command, *same]) == 0
        assert f"An engine already runs on {running.address} with" in capsys.readouterr().out


def test_status_makes_no_folder(isolated: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for action in ("status", "stop"):
        assert main(["engine", action]) == 0
    assert main(["engine", "logs"]) == 1
    assert "No engine runs" in capsys.readouterr().out
    assert list(isolated.iterdir()) == []


def test_status_still_refuses_a_folder_that_is_open_to_others(
    isolated: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (isolated / "runtime").mkdir(mode=0o755)
    assert main(["engine", "status"]) == 1
    assert "chmod 700" in capsys.readouterr().err


def test_status_after_a_good_and_after_a_sudden_end(
    start_process: StartProcess, address: EngineAddress, capsys: pytest.CaptureFixture[str]
) -> None:
    ensure_engine(address, command=COMMAND)
    stop_engine(address)
    status = ["engine", "status", "--json", "--socket", str(address)]
    assert main(status) == 0
    assert json.loads(capsys.readouterr().out)["last_failure"] is None
    killed = start_process("--socket", str(address.socket))
    killed.process.kill()
    killed.wait()
    assert main(status) == 0
    assert "killed or crashed" in json.loads(capsys.readouterr().out)["last_failure"]


@pytest.mark.parametrize(
    ("end", "failure"),
    [
        ("12:00 INFO x: Loading: weights\nnemodiff: There is no room.\n", "There is no room."),
        ("Traceback:\nMemoryError: no room\n", "MemoryError: no room"),
        ("nemodiff: There is no room.\n12:00 INFO x: Ready: a model\n", None),
        ("", None),
    ],
)
def test_the_logs_last_line_tells_an_error(tmp_path: Path, end: str, failure: str | None) -> None:
    (tmp_path / "engine.log").write_text(end)
    assert last_failure(tmp_path / "engine.log") == failure


def test_forwards_are_counted_while_a_request_runs(gated: Harness) -> None:
    def scraped() -> float:
        with gated.http() as http:
            lines = http.get("/metrics").text.splitlines()
        return float(next(x for x in lines if x.startswith("nemodiff_forwards_total")).split()[1])

    with EngineClient(gated.address) as client:
        stream = client.stream(CompletionRequest(prompt="abcdefghij", max_tokens=64))
        gated.engine.allow(3)
        for _ in range(3):
            next(stream)
        assert gated.engine.entered.get(timeout=60) == 0
        assert scraped() == 3.0
        gated.engine.allow(2)
        list(stream)
    assert scraped() == 5.0 == gated.engine.num_forwards
    gated.engine.num_forwards = 1  # whatever is read, a counter never falls
    assert scraped() == 5.0


def test_a_log_is_next_to_its_socket(address: EngineAddress) -> None:
    assert address.socket is not None
    assert default_log_path(address) == address.socket.with_suffix(".log")
