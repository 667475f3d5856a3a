"""Real language servers and engine processes: ten windows, one engine; killed, it comes back."""

from __future__ import annotations

import itertools
import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from raw_server import RawServer, inline_request
from scripted_lsp import STAND_IN

from engine.messages.address import EngineAddress
from engine.messages.client import EngineClient, NoEngineError
from engine.messages.completion import CompletionRequest
from engine.messages.processes import wait_for_end
from engine.messages.retire import stop_engine

INLINE = "textDocument/inlineCompletion"
SCRIPTED = (str(Path(__file__).with_name("scripted_lsp.py")),)
TINY = Path(__file__).resolve().parents[1] / "tiny_model" / "checkpoint"
WAIT_S = 120.0

# Nothing may be answered from what was offered before: the engine is what is tested here.
EACH_ASKS_THE_ENGINE = {"reuse": False, "speculativeStart": False, "prefetch": False}
OPTIONS: dict[str, Any] = {
    "deadlineMs": 60_000,
    "invokedDeadlineMs": 60_000,
    "maxRequestsPerSecond": 1_000,
    **EACH_ASKS_THE_ENGINE,
}


@pytest.fixture
def runtime(socket_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A runtime folder of the test's own, whose engine is ended with the test."""
    folder = socket_path.parent / "runtime"
    monkeypatch.setenv("NEMODIFF_RUNTIME_DIR", str(folder))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    yield folder
    if folder.exists():
        stop_engine(EngineAddress.within(folder))


@pytest.fixture
def count_file(runtime: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Gets a line from each scripted engine that begins to load."""
    path = runtime.parent / "started"
    monkeypatch.setenv("NEMODIFF_TEST_COUNT_FILE", str(path))
    return path


def engine_pids(folder: Path) -> set[int]:
    """The processes that serve an engine in the runtime folder `folder`."""
    found = set()
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = entry.read_bytes().split(b"\0")
        except OSError:
            continue
        if b"serve" in words and any(word.startswith(os.fsencode(folder)) for word in words):
            found.add(int(entry.parent.name))
    return found


def open_window(number: int, *, program: tuple[str, ...], arguments: tuple[str, ...]) -> RawServer:
    window = RawServer(*arguments, program=program)
    window.initialize(OPTIONS)
    window.open_text(f"value_{number} = ")
    return window


def ask_until_answered(window: RawServer, number: int) -> str:
    """The first text that the window gets; until the engine is ready it gets empty lists."""
    give_up_s = time.monotonic() + WAIT_S
    for turn in itertools.count():
        answer = window.request(INLINE, inline_request(0, len(f"value_{number} = ")), f"a{turn}")
        assert "error" not in answer
        if answer["result"] and answer["result"]["items"]:
            return str(answer["result"]["items"][0]["insertText"])
        assert time.monotonic() < give_up_s, window.stderr()
    raise AssertionError


def test_ten_windows_at_once_share_one_engine_that_outlives_them(
    runtime: Path, count_file: Path
) -> None:
    together = threading.Barrier(10)

    def window_of(number: int) -> RawServer:
        together.wait()
        return open_window(number, program=SCRIPTED, arguments=())

    with ThreadPoolExecutor(10) as pool:
        windows = list(pool.map(window_of, range(10)))
        try:
            texts = list(pool.map(ask_until_answered, windows, range(10)))
            assert all(texts)
            (pid,) = engine_pids(runtime)
            assert count_file.read_text().split() == [str(pid)]
        finally:
            assert list(pool.map(lambda window: window.finish(), windows)) == [0] * 10
    assert engine_pids(runtime) == {pid}
    # The window that comes later, killed like the others' machine would, joins the same one.
    with open_window(11, program=SCRIPTED, arguments=()) as late:
        assert ask_until_answered(late, 11)
        late.process.kill()
        late.process.wait(WAIT_S)
    assert engine_pids(runtime) == {pid}
    assert count_file.read_text().split() == [str(pid)]


def test_without_unix_sockets_windows_share_an_engine_on_loopback(
    runtime: Path, count_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NEMODIFF_TCP", "1")
    with ThreadPoolExecutor(3) as pool:
        windows = list(pool.map(lambda n: open_window(n, program=SCRIPTED, arguments=()), range(3)))
        try:
            assert all(pool.map(ask_until_answered, windows, range(3)))
            (pid,) = engine_pids(runtime)
            assert count_file.read_text().split() == [str(pid)]
            assert not (runtime / "engine.sock").exists()
            os.kill(pid, signal.SIGKILL)
            assert all(Typist(window).ask() or Typist(window).ask() for window in windows)
            assert len(engine_pids(runtime) - {pid}) == 1
        finally:
            assert list(pool.map(lambda window: window.finish(), windows)) == [0] * 3


@pytest.mark.slow
def test_ten_windows_with_a_real_model_share_one_engine(runtime: Path) -> None:
    arguments = ("--model", str(TINY))
    program = ("-m", "nemodiff_lsp")
    with ThreadPoolExecutor(10) as pool:
        windows = list(
            pool.map(lambda n: open_window(n, program=program, arguments=arguments), range(10))
        )
        try:
            for number, window in enumerate(windows):
                answer = window.request(INLINE, inline_request(0, len(f"value_{number} = ")), "r")
                assert "error" not in answer
            assert len(engine_pids(runtime)) == 1
            log = (runtime / "engine.log").read_text()
            assert log.count("Ready: ") == 1
        finally:
            list(pool.map(lambda window: window.finish(), windows))
    assert len(engine_pids(runtime)) == 1


def test_an_idle_engine_leaves_and_the_next_request_brings_it_back(
    runtime: Path, count_file: Path
) -> None:
    with open_window(0, program=SCRIPTED, arguments=("--idle-exit-minutes", "0.01")) as window:
        text = ask_until_answered(window, 0)
        (first,) = {int(pid) for pid in count_file.read_text().split()}
        assert wait_for_end(first, WAIT_S)
        assert not (runtime / "engine.sock").exists()
        answer = window.request(INLINE, inline_request(0, len("value_0 = ")), "again")
        assert answer["result"]["items"][0]["insertText"] == text, "the first request, not a later"
        assert len(count_file.read_text().split()) == 2
        assert not [note for note in window.notes if note["method"] == "window/showMessage"]
        assert window.finish() == 0


ORDER = ("starting", "loading", "ready")


class Typist:
    """One window whose user types on, while another hand kills the engine."""

    def __init__(self, window: RawServer) -> None:
        self.window = window
        self.version = 1
        self.num_asked = 0
        self.num_shown = 0

    def ask(self) -> bool:
        """Type a line, ask behind it; whether something was shown. Fails without an answer."""
        self.version += 1
        text = f"line_{self.version} = "
        document = {"uri": "file:///a.py", "version": self.version}
        change = {"textDocument": document, "contentChanges": [{"text": text}]}
        self.window.notify("textDocument/didChange", change)
        self.num_asked += 1
        answer = self.window.request(INLINE, inline_request(0, len(text)), f"r{self.version}")
        assert "error" not in answer, answer
        is_shown = bool(answer["result"] and answer["result"]["items"])
        self.num_shown += is_shown
        return is_shown


@pytest.mark.slow
def test_killed_at_fifty_random_moments_every_request_is_answered(
    runtime: Path, count_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three windows type all the time; the kills fall on loads, forwards and between them."""
    monkeypatch.setenv("NEMODIFF_TEST_FORWARD_MS", "10")
    monkeypatch.setenv("NEMODIFF_TEST_LOAD_MS", "300")
    chance = random.Random(17)
    num_kills = 50
    typists = [Typist(open_window(n, program=SCRIPTED, arguments=())) for n in range(3)]
    states: list[str] = []
    is_over = threading.Event()

    def type_on(typist: Typist) -> None:
        while not is_over.is_set():
            typist.ask()

    with ThreadPoolExecutor(3) as pool:
        try:
            work = [pool.submit(type_on, typist) for typist in typists]
            killed: set[int] = set()
            for _ in range(num_kills):
                pid = next_engine(runtime, killed)
                target = chance.choice(("starting", "loading", "ready"))
                while ORDER.index(state_of(runtime)) < ORDER.index(target):
                    time.sleep(0.01)
                time.sleep(chance.random() * 0.3)
                states.append(state_of(runtime))
                os.kill(pid, signal.SIGKILL)
                killed.add(pid)
                # Every other time, the next kill falls on the start or the load of the heir.
                if chance.random() < 0.5:
                    until_served(typists[:1])
            until_served(typists)
            is_over.set()
            for done in work:
                done.result(WAIT_S)
        finally:
            is_over.set()
    assert len(killed) == num_kills
    assert len(engine_pids(runtime)) == 1
    assert {"loading", "ready"} <= set(states), "kills must have fallen on both"
    for typist in typists:
        assert typist.num_asked > num_kills
        assert typist.window.finish() == 0, "the language server lived on"


def until_served(typists: list[Typist]) -> None:
    """Return when each of them has been shown something once more."""
    before = [typist.num_shown for typist in typists]
    give_up_s = time.monotonic() + WAIT_S
    while any(t.num_shown == n for t, n in zip(typists, before, strict=True)):
        assert time.monotonic() < give_up_s, "nobody was served after a kill"
        time.sleep(0.02)


def next_engine(runtime: Path, killed: set[int]) -> int:
    give_up_s = time.monotonic() + WAIT_S
    while not (alive := engine_pids(runtime) - killed):
        assert time.monotonic() < give_up_s, "no engine came after the last kill"
        time.sleep(0.02)
    # While one is started, a losing rival may live for a moment; there never is a second one.
    return min(alive)


def state_of(runtime: Path) -> str:
    try:
        with EngineClient(EngineAddress.within(runtime)) as client:
            return str(client.health()["state"])
    except NoEngineError:
        return "starting"


def test_loading_is_told_as_progress_and_requests_get_empty_lists_meanwhile(
    runtime: Path, count_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = runtime.parent / "gate"
    monkeypatch.setenv("NEMODIFF_TEST_LOAD_GATE", str(gate))
    with RawServer(program=SCRIPTED) as window:
        capabilities = {"window": {"workDoneProgress": True}}
        options = {**OPTIONS, "deadlineMs": 50, "invokedDeadlineMs": 50}
        params = {
            "processId": None,
            "rootUri": None,
            "capabilities": capabilities,
            "initializationOptions": options,
        }
        assert "capabilities" in window.request("initialize", params, "initialize")["result"]
        window.notify("initialized", {})
        window.open_text("value = ")
        for turn in range(3):
            answer = window.request(INLINE, inline_request(0, 8), f"early{turn}")
            assert answer["result"] == {"items": []}
        token = created_token(window)
        begin = progress(window, token)
        assert begin["kind"] == "begin" and begin["title"] == "NemoDiff"
        values = [begin]
        while values[-1].get("percentage") != 40:
            values.append(progress(window, token))
        assert values[-1]["message"] == "reading weights"
        gate.touch()
        while values[-1]["kind"] != "end":
            values.append(progress(window, token))
        per_cents = [value["percentage"] for value in values if "percentage" in value]
        assert per_cents == sorted(per_cents) and per_cents[-1] <= 100
        assert "ready" in values[-1]["message"]
        assert window.finish() == 0


def created_token(window: RawServer) -> str:
    """Accept the server's request for a progress; its token."""
    while True:
        notes, window.notes = window.notes, []
        for note in notes:
            if note.get("method") == "window/workDoneProgress/create":
                accept = f'{{"jsonrpc": "2.0", "id": "{note["id"]}", "result": null}}'
                window.send_bytes(accept.encode())
                return str(note["params"]["token"])
        window.notes.append(window.read())


def progress(window: RawServer, token: str) -> dict[str, Any]:
    while True:
        note = window.read()
        if note.get("method") == "$/progress" and note["params"]["token"] == token:
            value: dict[str, Any] = note["params"]["value"]
            return value


def test_a_newer_engine_is_told_of_once_and_not_fought(
    runtime: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from engine.messages.address import PROTOCOL_VERSION

    monkeypatch.setenv("NEMODIFF_TEST_PROTOCOL", str(PROTOCOL_VERSION + 1))
    pid = start_by_hand(runtime)
    with open_window(0, program=SCRIPTED, arguments=()) as window:
        for turn in range(5):
            answer = window.request(INLINE, inline_request(0, 10), f"r{turn}")
            assert answer["result"] == {"items": []}
        assert window.finish() == 0
        told = [n for n in window.notes if n.get("method") == "window/showMessage"]
        (message,) = [note["params"]["message"] for note in told]
        assert "is newer" in message
    assert engine_pids(runtime) == {pid}


def test_an_older_engine_makes_room(runtime: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEMODIFF_TEST_PROTOCOL", "1")
    old = start_by_hand(runtime)
    monkeypatch.delenv("NEMODIFF_TEST_PROTOCOL")
    with open_window(0, program=SCRIPTED, arguments=()) as window:
        assert ask_until_answered(window, 0)
        (new,) = engine_pids(runtime)
        assert new != old
        assert window.finish() == 0


def test_what_a_draining_engine_refuses_goes_to_its_heir(
    runtime: Path, count_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NEMODIFF_TEST_FORWARD_MS", "200")
    with (
        open_window(0, program=SCRIPTED, arguments=()) as window,
        ThreadPoolExecutor(1) as pool,
        EngineClient(EngineAddress.within(runtime)) as client,
    ):
        ask_until_answered(window, 0)
        running = pool.submit(client.complete, CompletionRequest(prompt="a second's work"))
        while "nemodiff_running 1.0" not in client._http.get("http://localhost/metrics").text:
            time.sleep(0.01)
        assert client.drain()
        assert Typist(window).ask(), "the first request, not a later one"
        assert running.result(WAIT_S).choices[0].finish_reason == "stop"
        assert len(count_file.read_text().split()) == 2
        assert window.finish() == 0


def test_an_engine_url_in_the_settings_starts_no_local_engine(
    runtime: Path, count_file: Path
) -> None:
    with RawServer(program=SCRIPTED) as window:
        window.initialize({**OPTIONS, "engineUrl": "http://127.0.0.1:9"})
        window.open_text("value = ")
        for turn in range(3):
            answer = window.request(INLINE, inline_request(0, 8), f"r{turn}")
            assert answer["result"] == {"items": []}
        assert window.finish() == 0
    assert not count_file.exists()
    assert engine_pids(runtime) == set()


def start_by_hand(runtime: Path) -> int:
    """A scripted engine process, listening."""
    import subprocess
    import sys

    command = [sys.executable, str(STAND_IN), "engine", "serve", "--socket"]
    log = subprocess.DEVNULL
    runtime.mkdir(mode=0o700)
    process = subprocess.Popen(
        [*command, str(runtime / "engine.sock")], stdout=subprocess.PIPE, stderr=log
    )
    assert process.stdout is not None
    with process.stdout:
        assert process.stdout.readline()
    threading.Thread(target=process.wait, daemon=True).start()
    return process.pid


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--engine-url", "http://192.0.2.1:1"), "not encrypted"),
        (("--engine-url", "nonsense"), "no engine URL"),
        (("--engine-url", "https://h:1", "--engine-socket", "/x/y"), "not both"),
        (("--engine-url", "https://h:1", "--engine-token-file", "/nonexistent"), "cannot be read"),
        (("--engine-token-file", "/nonexistent"), "name its URL"),
    ],
)
def test_wrong_choice_of_engine_is_one_sentence(
    runtime: Path, arguments: tuple[str, ...], message: str
) -> None:
    with RawServer(*arguments) as server:
        assert server.process.wait(WAIT_S) == 1
        (line,) = server.stderr().splitlines()
        assert line.startswith("nemodiff lsp: ") and message in line
    assert not runtime.exists()


def test_with_an_engine_url_no_local_engine_is_ever_used(runtime: Path) -> None:
    """Nobody answers there; the user's own engine, which runs, is not asked in its place."""
    pid = start_by_hand(runtime)
    with open_window(
        0, program=SCRIPTED, arguments=("--engine-url", "http://127.0.0.1:9")
    ) as window:
        for turn in range(3):
            answer = window.request(INLINE, inline_request(0, 10), f"r{turn}")
            assert answer["result"] == {"items": []}
        assert window.finish() == 0
    assert engine_pids(runtime) == {pid}
    with EngineClient(EngineAddress.within(runtime)) as client:
        target = {"url": "http://localhost/metrics"}
        metrics = client._http.get(**target).text
    assert "nemodiff_requests_total{" not in metrics
