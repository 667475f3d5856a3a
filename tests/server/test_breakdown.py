"""An engine whose every pass fails ends, tells those who wait, and leaves a crash to be seen."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from engine.messages.address import EngineAddress
from engine.messages.client import EngineClient, EngineRefused
from engine.messages.completion import CompletionRequest
from engine.messages.launch import ensure_engine, stop_engine
from engine.messages.processes import wait_for_end
from engine.server.breakdown import BROKEN, FAULTY, MAX_FAILURES
from engine.server.scheduler import Scheduler
from tests.server.scripted_engine import DEVICE_FAULT, ENGINE_ERROR, FAULT, WAIT_S, ScriptedEngine
from tests.server.server_harness import SCRIPT, StartProcess, run_server


def refusal(client: EngineClient, prompt: str) -> EngineRefused:
    with pytest.raises(EngineRefused) as caught:
        client.complete(CompletionRequest(prompt=prompt))
    return caught.value


def test_a_lasting_failure_of_the_device_is_told_to_those_who_wait(short_path: Path) -> None:
    """One is in work and one waits when the passes of three others fail one after the other."""
    faults = [f"{DEVICE_FAULT}{number}" for number in range(MAX_FAILURES)]
    with (
        run_server(ScriptedEngine(gated=True), short_path) as running,
        EngineClient(running.address) as client,
        ThreadPoolExecutor(MAX_FAILURES + 2) as pool,
    ):
        asked = []
        for prompt in ("in work", *faults, "waits"):
            asked.append(pool.submit(refusal, client, prompt))
            running.submitted.get(timeout=WAIT_S)
            if prompt == "in work":
                running.engine.entered.get(timeout=WAIT_S)
        running.engine.allow(1)
        answers = [each.result(WAIT_S) for each in asked]
        assert [each.status for each in answers] == [503, *[500] * MAX_FAILURES, 503]
        assert {str(answers[0]), str(answers[-1])} == {running.thread.status.failure} == {BROKEN}
        assert running.engine.num_forwards == 1
        assert running.thread.is_broken and running.thread.join(WAIT_S)
        assert refusal(client, "too late").status == 503


def test_a_fault_outside_of_any_request_leaves_nobody_waiting(
    short_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ValueError("the books do not balance")

    with (
        run_server(ScriptedEngine(), short_path) as running,
        EngineClient(running.address) as client,
    ):
        monkeypatch.setattr(Scheduler, "charge", broken)
        answer = refusal(client, "in work")
        assert (answer.status, str(answer)) == (503, FAULTY)
        assert running.thread.is_broken and running.thread.join(WAIT_S)
        assert refusal(client, "too late").status == 503


def test_what_is_the_requests_own_fault_does_not_count(short_path: Path) -> None:
    with (
        run_server(ScriptedEngine(), short_path) as running,
        EngineClient(running.address) as client,
    ):
        for kind in (FAULT, ENGINE_ERROR):
            for number in range(MAX_FAILURES + 1):
                assert refusal(client, f"{kind}{number}").status == 500
        for _ in range(MAX_FAILURES):
            for number in range(MAX_FAILURES - 1):
                assert refusal(client, f"{DEVICE_FAULT}{number}").status == 500
            # One pass that succeeds: the engine lives.
            assert client.complete(CompletionRequest(prompt="ab")).choices[0].text == "ba"
        assert not running.thread.is_broken


def test_a_broken_engine_ends_as_a_crash_does_and_a_fresh_one_follows(short_path: Path) -> None:
    address = EngineAddress(socket=short_path / "engine.sock")
    assert address.path is not None
    command = (sys.executable, str(SCRIPT))
    try:
        first = ensure_engine(address, command=command)
        assert first is not None
        with EngineClient(address) as client:
            for number in range(MAX_FAILURES):
                assert refusal(client, f"{DEVICE_FAULT}{number}").status == 500
        assert wait_for_end(first, WAIT_S)
        assert address.path.exists(), "which tells the language server that it has crashed"
        assert BROKEN in address.path.with_suffix(".log").read_text(encoding="utf-8")
        second = ensure_engine(address, command=command)
        assert second not in (None, first)
        with EngineClient(address) as client:
            assert client.complete(CompletionRequest(prompt="ab")).choices[0].text == "ba"
    finally:
        stop_engine(address)


def test_its_exit_code_is_no_success(start_process: StartProcess, short_path: Path) -> None:
    path = short_path / "other.sock"
    running = start_process("--socket", str(path))
    with EngineClient(EngineAddress(socket=path)) as client:
        for number in range(MAX_FAILURES):
            refusal(client, f"{DEVICE_FAULT}{number}")
    assert running.wait() == 70
