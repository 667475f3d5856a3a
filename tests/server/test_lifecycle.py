"""The engine's life: it leaves when nobody needs it, makes room for a newer one, loses nothing."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest

import engine.messages.client
import engine.messages.launch
import engine.messages.replies
from engine.cli.main import main
from engine.messages.address import PROTOCOL_VERSION, EngineAddress
from engine.messages.client import EngineClient, EngineRefused, NoEngineError, OtherVersionError
from engine.messages.completion import CompletionRequest
from engine.messages.launch import default_log_path, ensure_engine, stop_engine
from engine.messages.processes import wait_for_end
from engine.server.departure import Departure
from engine.server.engine_thread import EngineStatus
from tests.server import serve_stand_in
from tests.server.scripted_engine import ENDLESS, WAIT_S
from tests.server.server_harness import ROOT, Harness

COMMAND = (sys.executable, serve_stand_in.__file__, "engine", "serve")
SHORT = "--idle-exit-minutes=0.005"


@pytest.fixture(params=["unix", "endpoint"])
def address(request: pytest.FixtureRequest, short_path: Path) -> Iterator[EngineAddress]:
    """Either kind of local address; whatever is started there is stopped with the test."""
    if request.param == "unix":
        found = EngineAddress(socket=short_path / "engine.sock")
    else:
        found = EngineAddress(endpoint_file=short_path / "engine.json")
    yield found
    stop_engine(found)


@pytest.fixture
def unix(short_path: Path) -> Iterator[EngineAddress]:
    found = EngineAddress(socket=short_path / "engine.sock")
    yield found
    stop_engine(found)


def started(address: EngineAddress, *arguments: str) -> int:
    pid = ensure_engine(address, command=COMMAND, arguments=arguments)
    assert pid is not None
    return pid


def test_an_idle_engine_ends_and_takes_its_address_along(address: EngineAddress) -> None:
    pid = started(address, SHORT)
    assert wait_for_end(pid, WAIT_S)
    assert address.path is not None
    assert not address.path.exists()
    assert "Leaving after" in default_log_path(address).read_text()
    with EngineClient(address) as client, pytest.raises(NoEngineError):
        client.health()
    # It comes back, and is another process.
    assert started(address) != pid
    with EngineClient(address) as client:
        assert client.complete(CompletionRequest(prompt="ab")).choices[0].text == "ba"


def test_an_engine_at_work_stays(unix: EngineAddress, monkeypatch: pytest.MonkeyPatch) -> None:
    """The work takes ten times as long as an idle engine would stay."""
    monkeypatch.setenv(serve_stand_in.FORWARD_MS, "600")
    started(unix, SHORT)
    with EngineClient(unix) as client:
        assert client.complete(CompletionRequest(prompt="abcde")).choices[0].text == "edcba"


def test_a_long_load_is_not_idleness(
    unix: EngineAddress, short_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = short_path / "gate"
    monkeypatch.setenv(serve_stand_in.LOAD_GATE, str(gate))
    pid = started(unix, SHORT)
    assert not wait_for_end(pid, 1.5), "five times the idle time"
    gate.touch()
    assert wait_for_end(pid, WAIT_S)


def test_clients_of_a_leaving_engine_lose_no_request(unix: EngineAddress) -> None:
    """Engines that leave after 60 ms against clients that pause about as long between requests."""
    pids: set[int] = set()
    limit_s = time.monotonic() + WAIT_S

    def work(number: int) -> list[str]:
        texts: list[str] = []
        # On a busy machine hardly a pause is one of all clients: then it takes more turns.
        while len(texts) < 12 or (len(pids) < 2 and time.monotonic() < limit_s):
            turn = len(texts)
            texts.append(answer(f"{number}-{turn}"))
            # Not to wait for anything: to let the engine leave in some of the turns.
            time.sleep(0.05 * ((number + turn) % 5))
        return texts

    def answer(prompt: str) -> str:
        while True:
            ensure_engine(unix, command=COMMAND, arguments=["--idle-exit-minutes=0.001"])
            with EngineClient(unix) as client:
                try:
                    pids.add(client.health()["pid"])
                    return client.complete(CompletionRequest(prompt=prompt)).choices[0].text
                except NoEngineError as error:
                    # It may have left before the request came, but never with the request.
                    assert "No engine listens" in str(error)

    with ThreadPoolExecutor(3) as pool:
        answers = list(pool.map(work, range(3)))
    for number, texts in enumerate(answers):
        assert texts == [f"{number}-{turn}"[::-1] for turn in range(len(texts))]
        assert len(texts) >= 12
    assert len(pids) > 1, "no engine ever left"


@dataclass
class FakeWorker:
    status: EngineStatus = field(default_factory=lambda: EngineStatus("loading", "starting"))
    idle_since_s: float | None = None


@dataclass
class FakeWorld:
    """A departure whose clock, work and connections the test sets."""

    now_s: float = 100.0
    num_connections: int = 0
    num_withdrawn: int = 0
    worker: FakeWorker = field(default_factory=FakeWorker)

    def departure(self, idle_exit_s: float | None) -> Departure:
        def withdraw() -> None:
            self.num_withdrawn += 1

        return Departure(
            self.worker,
            idle_exit_s=idle_exit_s,
            withdraw=withdraw,
            num_connections=lambda: self.num_connections,
            clock=lambda: self.now_s,
        )

    def become(self, state: str, idle_since_s: float | None) -> None:
        self.worker.status = EngineStatus(state, state)  # type: ignore[arg-type]
        self.worker.idle_since_s = idle_since_s


def test_departure_serves_first_who_had_connected() -> None:
    world = FakeWorld()
    departure = world.departure(10.0)
    world.become("ready", 100.0)
    assert not departure.is_due()
    world.now_s = 109.9
    assert not departure.is_due() and world.num_withdrawn == 0
    world.now_s, world.num_connections = 110.0, 1
    assert not departure.is_due() and world.num_withdrawn == 1
    world.worker.idle_since_s = None
    world.now_s = 500.0
    assert not departure.is_due(), "somebody had connected, and is being served"
    world.worker.idle_since_s, world.num_connections = 500.0, 0
    assert departure.is_due() and world.num_withdrawn == 1


def test_departure_does_not_wait_for_ever_for_a_silent_connection() -> None:
    world = FakeWorld(num_connections=1)
    departure = world.departure(10.0)
    world.become("ready", 50.0)
    assert not departure.is_due(), "ready only now, however long nothing was queued"
    world.now_s = 110.0
    assert not departure.is_due() and world.num_withdrawn == 1
    world.now_s = 117.0
    assert departure.is_due()


@pytest.mark.parametrize("idle_exit_s", [None, 10.0])
def test_departure_after_draining_whatever_the_idle_time(idle_exit_s: float | None) -> None:
    world = FakeWorld()
    departure = world.departure(idle_exit_s)
    world.become("draining", None)
    assert not departure.is_due() and world.num_withdrawn == 0
    world.become("draining", 100.0)
    assert not departure.is_due() and world.num_withdrawn == 1
    assert departure.is_due()


def test_departure_never() -> None:
    world = FakeWorld()
    departure = world.departure(None)
    world.become("ready", 0.0)
    world.now_s = 1e9
    assert not departure.is_due() and world.num_withdrawn == 0


def test_an_older_engine_finishes_its_work_and_makes_room(
    address: EngineAddress, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(serve_stand_in.PROTOCOL, "1")
    monkeypatch.setenv(serve_stand_in.FORWARD_MS, "100")
    old_pid = started_as_version(1, address)
    with ThreadPoolExecutor(1) as pool, EngineClient(address) as client:
        running = pool.submit(client.complete, CompletionRequest(prompt="abcdefghij"))
        until_running(address)
        monkeypatch.delenv(serve_stand_in.PROTOCOL)
        new_pid = started(address)
        assert running.result(WAIT_S).choices[0].text == "jihgfedcba"
        assert wait_for_end(old_pid, WAIT_S)
        assert client.health()["pid"] == new_pid != old_pid


def started_as_version(protocol: int, address: EngineAddress) -> int:
    """Started by a client of that version."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine.messages.launch, "PROTOCOL_VERSION", protocol)
        patch.setattr(engine.messages.replies, "PROTOCOL_VERSION", protocol)
        return started(address)


def until_running(address: EngineAddress) -> None:
    with EngineClient(address) as client:
        target = engine.messages.client._target(address, "/metrics")
        while "nemodiff_running 1.0" not in client._http.get(**target).text:
            time.sleep(0.01)


def test_an_engine_that_cannot_drain_is_ended(
    unix: EngineAddress, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Protocol 2 and before had no such route."""
    monkeypatch.setenv(serve_stand_in.PROTOCOL, "1")
    old_pid = started_as_version(1, unix)
    monkeypatch.setattr(EngineClient, "drain", lambda self: False)
    monkeypatch.delenv(serve_stand_in.PROTOCOL)
    assert started(unix) != old_pid
    assert wait_for_end(old_pid, WAIT_S)


def test_ten_newer_clients_replace_an_older_engine_once(
    unix: EngineAddress, short_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(serve_stand_in.COUNT_FILE, str(short_path / "started"))
    monkeypatch.setenv(serve_stand_in.PROTOCOL, "1")
    started_as_version(1, unix)
    monkeypatch.delenv(serve_stand_in.PROTOCOL)
    together = threading.Barrier(10)

    def race(_: int) -> int | None:
        together.wait()
        return ensure_engine(unix, command=COMMAND)

    with ThreadPoolExecutor(10) as pool:
        pids = list(pool.map(race, range(10)))
    assert len([pid for pid in pids if pid is not None]) == 1
    with EngineClient(unix) as client:
        client.complete(CompletionRequest(prompt="until it has loaded"))
    assert len((short_path / "started").read_text().split()) == 2


def test_a_newer_engine_is_left_alone(unix: EngineAddress, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(serve_stand_in.PROTOCOL, str(PROTOCOL_VERSION + 1))
    pid = started_as_version(PROTOCOL_VERSION + 1, unix)
    with pytest.raises(OtherVersionError, match="is newer"):
        ensure_engine(unix, command=["/nonexistent"])
    with pytest.raises(OtherVersionError), EngineClient(unix) as client:
        client.health()
    assert not wait_for_end(pid, 0.0)
    # On purpose, by hand, it can be ended all the same.
    assert stop_engine(unix) is True


def test_a_draining_engine_takes_nothing_new(
    unix: EngineAddress, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(serve_stand_in.FORWARD_MS, "100")
    pid = started(unix)
    with ThreadPoolExecutor(1) as pool, EngineClient(unix) as client:
        running = pool.submit(client.complete, CompletionRequest(prompt="abcdefghij"))
        until_running(unix)
        assert client.drain()
        with pytest.raises(EngineRefused) as refused:
            client.complete(CompletionRequest(prompt="late"))
        assert refused.value.is_leaving
        assert running.result(WAIT_S).choices[0].text == "jihgfedcba"
    assert wait_for_end(pid, WAIT_S)
    assert "Traceback" not in default_log_path(unix).read_text()


@pytest.mark.parametrize("harness", ["tcp"], indirect=True)
def test_nobody_drains_an_engine_on_an_open_port(harness: Harness) -> None:
    with harness.http() as http:
        assert http.post("/v1/drain").status_code == 403
    with EngineClient(harness.address) as client:
        assert client.complete(CompletionRequest(prompt="ab")).choices[0].text == "ba"


def test_engine_lives_in_a_session_of_its_own(unix: EngineAddress) -> None:
    pid = started(unix)
    assert os.getsid(pid) == pid
    # It may have a pipe of its own for a moment, to a child.
    assert not _pipes(pid) & _pipes(os.getpid())


def _pipes(pid: int) -> set[str]:
    found = set()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            found.add(os.readlink(entry))
    return {name for name in found if name.startswith("pipe:")}


def test_killed_under_load_a_new_one_takes_the_address(address: EngineAddress) -> None:
    pid = started(address)
    with EngineClient(address) as client:
        stream = client.stream(CompletionRequest(prompt=ENDLESS, max_tokens=4096))
        next(iter(stream))
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(NoEngineError):
            list(stream)
        assert wait_for_end(pid, WAIT_S)
        assert started(address) != pid
        assert client.complete(CompletionRequest(prompt="ab")).choices[0].text == "ba"


def test_logs_can_be_followed(unix: EngineAddress) -> None:
    started(unix)
    follow = [sys.executable, "-m", "engine", "engine", "logs", "--follow", "--socket", str(unix)]
    # A suite that runs in a shell's background inherits that interrupts are ignored.
    heed = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    with subprocess.Popen(
        follow, cwd=ROOT, stdout=subprocess.PIPE, text=True, preexec_fn=heed
    ) as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        assert "Loading" in first
        with EngineClient(unix) as client:
            assert client.drain()
        assert any("Leaving" in line for line in iter(process.stdout.readline, ""))
        process.send_signal(signal.SIGINT)
        assert process.wait(WAIT_S) == 0


def test_idle_time_is_passed_on_by_start(
    unix: EngineAddress, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(engine.messages.launch, "_SERVE_COMMAND", COMMAND)
    assert main(["engine", "start", "--socket", str(unix), SHORT]) == 0
    assert "An engine runs on" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["engine", "start", "--socket", str(unix), "--idle-exit-minutes=-1"])
    assert "is not a number of minutes" in capsys.readouterr().err
