"""Starting and stopping the resident engine: exactly one, and its last words when it dies."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from engine.cli.main import main
from engine.messages.address import AddressError, EngineAddress, default_socket, runtime_dir
from engine.messages.client import EngineClient, EngineUnavailable
from engine.messages.completion import CompletionRequest
from engine.messages.launch import ensure_engine, ensure_engine_async, is_running, stop_engine
from tests.server.server_harness import ROOT, SCRIPT, Harness

COMMAND = (sys.executable, str(SCRIPT))

RACER = """
import sys
from pathlib import Path
from engine.messages.address import EngineAddress
from engine.messages.launch import ensure_engine
sys.stdin.readline()
address = EngineAddress(socket=Path(sys.argv[1]))
ensure_engine(address, command=sys.argv[3:], arguments=["--count-file", sys.argv[2]])
from engine.messages.client import EngineClient
print(EngineClient(address).health()["pid"])
"""


@pytest.fixture
def address(short_path: Path) -> Iterator[EngineAddress]:
    """An address nobody listens on yet; whatever is started there is stopped with the test."""
    found = EngineAddress(socket=short_path / "engine.sock")
    yield found
    stop_engine(found)


def test_ten_racing_processes_start_one_engine(address: EngineAddress, short_path: Path) -> None:
    count_file = short_path / "started"
    command = [sys.executable, "-c", RACER, str(address.socket), str(count_file), *COMMAND]
    racers = [
        subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(10)
    ]
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write("go\n")
        racer.stdin.flush()
    pids = {racer.communicate()[0].strip() for racer in racers}
    assert [racer.returncode for racer in racers] == [0] * 10
    assert count_file.read_text().split() == list(pids)


def test_racing_threads_start_one_engine(address: EngineAddress, short_path: Path) -> None:
    count_file = short_path / "started"
    together = threading.Barrier(8)

    def race(_: int) -> None:
        together.wait()
        ensure_engine(address, command=COMMAND, arguments=["--count-file", str(count_file)])

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(race, range(8)))
    assert len(count_file.read_text().split()) == 1


async def test_engine_outlives_its_starter_and_is_joined(
    address: EngineAddress, short_path: Path
) -> None:
    starter = (
        "import sys; from pathlib import Path\n"
        "from engine.messages.address import EngineAddress\n"
        "from engine.messages.launch import ensure_engine\n"
        "ensure_engine(EngineAddress(socket=Path(sys.argv[1])), command=sys.argv[2:])\n"
    )
    command = [sys.executable, "-c", starter, str(address.socket), *COMMAND]
    subprocess.run(command, cwd=ROOT, check=True)
    # A command that cannot be run shows that nothing is started.
    await ensure_engine_async(address, command=["/nonexistent"])
    with EngineClient(address) as client:
        assert client.complete(CompletionRequest(prompt="ab")).choices[0].text == "ba"


def test_stop_ends_the_process_and_a_new_one_can_follow(address: EngineAddress) -> None:
    assert stop_engine(address) is False
    for _ in range(2):
        ensure_engine(address, command=COMMAND)
        assert is_running(address)
        assert stop_engine(address) is True
        assert address.socket is not None
        assert not address.socket.exists()
        assert not is_running(address)


def test_process_that_dies_is_quoted(address: EngineAddress, short_path: Path) -> None:
    with pytest.raises(EngineUnavailable, match=r"no room for the model") as caught:
        ensure_engine(
            address, command=COMMAND, arguments=["--die", "There is no room for the model."]
        )
    assert "engine.log" in str(caught.value)
    # The words of an earlier death are not taken for those of a later, silent one.
    with pytest.raises(EngineUnavailable, match="exit code 3"):
        ensure_engine(address, command=[sys.executable, "-c", "raise SystemExit(3)"])


def test_no_engine_is_started_for_a_url() -> None:
    with pytest.raises(EngineUnavailable, match="only on a Unix socket"):
        ensure_engine(EngineAddress.parse("http://127.0.0.1:9"), command=["/nonexistent"])


def test_engine_elsewhere_is_not_stopped() -> None:
    with pytest.raises(EngineUnavailable, match="another machine"):
        stop_engine(EngineAddress.parse("http://192.0.2.1:8712"))


def test_foreign_server_is_not_taken_for_an_engine(short_path: Path) -> None:
    """Something else answers HTTP on the socket: neither joined nor replaced."""
    server = (
        "import http.server, socketserver, sys\n"
        "class H(http.server.SimpleHTTPRequestHandler):\n"
        "    def address_string(self): return ''\n"
        "s = socketserver.UnixStreamServer(sys.argv[1], H)\n"
        "print('up', flush=True); s.serve_forever()\n"
    )
    path = short_path / "engine.sock"
    foreign = subprocess.Popen(
        [sys.executable, "-c", server, str(path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd=short_path,
    )
    try:
        assert foreign.stdout is not None
        foreign.stdout.readline()
        with pytest.raises(EngineUnavailable, match="does not answer like"):
            ensure_engine(EngineAddress(socket=path), command=["/nonexistent"])
    finally:
        foreign.kill()
        foreign.communicate()


def test_runtime_folder_is_private(short_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = short_path / "runtime"
    monkeypatch.setenv("NEMODIFF_RUNTIME_DIR", str(folder))
    assert runtime_dir() == folder
    assert folder.stat().st_mode & 0o777 == 0o700
    assert default_socket() == folder / "engine.sock"
    folder.chmod(0o750)
    with pytest.raises(AddressError, match="chmod 700"):
        runtime_dir()
    folder.rmdir()
    folder.symlink_to(short_path)
    with pytest.raises(AddressError, match="not a folder"):
        runtime_dir()


@pytest.mark.parametrize(
    "text", ["", "unix:", "ftp://x", "http://", "http://h:99999", "http://h/path", "http://h:x"]
)
def test_nonsense_is_no_address(text: str) -> None:
    with pytest.raises(AddressError, match="no engine address"):
        EngineAddress.parse(text)


def test_addresses_read_back() -> None:
    for text in ("unix:/run/x.sock", "http://127.0.0.1:8712", "http://[::1]:8712"):
        assert str(EngineAddress.parse(text)) == text
        assert EngineAddress.parse(text).is_local
    assert not EngineAddress.parse("http://10.0.0.1:1").is_local
    with pytest.raises(AddressError, match="bytes long"):
        EngineAddress(socket=Path("/" + "s" * 120))


@pytest.mark.parametrize("harness", ["unix"], indirect=True)
def test_status_command_tells_what_runs(
    harness: Harness, capsys: pytest.CaptureFixture[str]
) -> None:
    with EngineClient(harness.address) as client:
        client.complete(CompletionRequest(prompt="until it is ready"))
    assert main(["engine", "status", "--socket", str(harness.address)]) == 0
    told = capsys.readouterr().out
    for word in ("ready", "scripted-0.1b", "cpu", "scripted"):
        assert word in told


def test_stop_and_logs_commands(address: EngineAddress, capsys: pytest.CaptureFixture[str]) -> None:
    where = ["--socket", str(address)]
    assert main(["engine", "logs", *where]) == 1
    assert "There is no log" in capsys.readouterr().err
    ensure_engine(address, command=COMMAND)
    assert main(["engine", "stop", *where]) == 0
    assert "Stopped" in capsys.readouterr().out
    assert main(["engine", "stop", *where]) == 0
    assert "No engine runs" in capsys.readouterr().out
    assert main(["engine", "logs", *where]) == 0
    assert "reading weights" in capsys.readouterr().out


@pytest.mark.parametrize(
    "module", ["engine.messages.client", "engine.messages.launch", "engine.cli.serve"]
)
def test_clients_import_no_torch(module: str) -> None:
    check = f"import sys, {module}; sys.exit('torch' in sys.modules or 'pygls' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], cwd=ROOT, check=False).returncode == 0
