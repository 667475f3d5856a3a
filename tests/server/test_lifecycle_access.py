"""Who may use an engine: its own user, through a socket or with a token, and nobody else."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from engine.cli.main import main
from engine.messages.address import AddressError, EngineAddress, read_token
from engine.messages.client import EngineClient, EngineRefused, EngineUnavailable, NoEngineError
from engine.messages.completion import CompletionRequest
from engine.messages.endpoint import Endpoint, read_endpoint, write_endpoint
from engine.messages.launch import default_log_path, ensure_engine, stop_engine
from tests.server import serve_stand_in
from tests.server.scripted_engine import WAIT_S
from tests.server.server_harness import EngineProcess

STAND_IN = [sys.executable, serve_stand_in.__file__]
COMMAND = (*STAND_IN, "engine", "serve")
NOBODY = 65534

# Connects as another user and says what it got: an error's name, or how many bytes of an answer.
STRANGER = """
import os, socket, sys
os.setgroups([]); os.setgid(65534); os.setuid(65534)
with socket.socket(socket.AF_UNIX) as s:
    s.settimeout(30)
    try:
        s.connect(sys.argv[1])
        s.sendall(b"GET /health HTTP/1.1\\r\\nHost: localhost\\r\\n\\r\\n")
        print(len(s.recv(65536)))
    except OSError as error:
        print(type(error).__name__)
"""

is_root = hasattr(os, "geteuid") and os.geteuid() == 0
needs_root = pytest.mark.skipif(not is_root, reason="only root can become another user")


@pytest.fixture
def endpoint(short_path: Path) -> Iterator[EngineAddress]:
    """A loopback engine that runs, with its address and token in a file."""
    address = EngineAddress(endpoint_file=short_path / "engine.json")
    ensure_engine(address, command=COMMAND)
    yield address
    stop_engine(address)


def as_stranger(path: Path) -> str:
    return subprocess.run(
        [sys.executable, "-I", "-c", STRANGER, str(path)],
        capture_output=True,
        text=True,
        check=True,
        timeout=WAIT_S,
    ).stdout.strip()


@needs_root
@pytest.mark.parametrize(
    ("folder_mode", "socket_mode", "outcomes"),
    [
        (0o700, 0o600, {"PermissionError"}),
        (0o700, 0o666, {"PermissionError"}),
        (0o755, 0o600, {"PermissionError"}),
        # The modes say yes to all, and still the engine looks who it is.
        (0o755, 0o666, {"0", "ConnectionResetError", "BrokenPipeError"}),
    ],
)
def test_another_user_gets_nothing(
    short_path: Path, folder_mode: int, socket_mode: int, outcomes: set[str]
) -> None:
    folder = short_path / "own"
    address = EngineAddress(socket=folder / "engine.sock")
    assert address.socket is not None
    ensure_engine(address, command=COMMAND)
    try:
        short_path.chmod(0o755)
        folder.chmod(folder_mode)
        address.socket.chmod(socket_mode)
        assert as_stranger(address.socket) in outcomes
        folder.chmod(0o700)
        with EngineClient(address) as client:
            assert client.complete(CompletionRequest(prompt="ab")).choices[0].text == "ba"
    finally:
        folder.chmod(0o700)
        stop_engine(address)


@needs_root
def test_the_stranger_of_these_tests_can_reach_an_open_socket(short_path: Path) -> None:
    """Otherwise the test before would hold for any engine."""
    import socket

    path = short_path / "open.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        short_path.chmod(0o755)
        path.chmod(0o666)
        command = [sys.executable, "-I", "-c", STRANGER, str(path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as stranger:
            connection, _ = listener.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(b"open")
            assert stranger.communicate(timeout=WAIT_S)[0].strip() == "4"


def test_endpoint_file_is_private_and_the_token_is_nowhere_else(endpoint: EngineAddress) -> None:
    path = endpoint.endpoint_file
    assert path is not None
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    found = json.loads(path.read_text())
    assert set(found) == {"url", "token", "pid"}
    assert len(found["token"]) >= 40
    with EngineClient(endpoint) as client:
        assert client.complete(CompletionRequest(prompt="ab")).choices[0].text == "ba"
        assert client.health()["pid"] == found["pid"]
    assert found["token"] not in default_log_path(endpoint).read_text()
    argv = Path(f"/proc/{found['pid']}/cmdline").read_bytes().decode()
    environment = Path(f"/proc/{found['pid']}/environ").read_bytes().decode()
    assert found["token"] not in argv + environment
    assert "endpoint" in argv
    assert found["token"] not in repr(read_endpoint(path))
    assert os.listdir(path.parent).count("engine.json") == 1
    assert not list(path.parent.glob("*.part"))


@pytest.mark.parametrize(
    "authorization",
    [None, "", "Bearer", "Bearer wrong", "Basic {token}", "{token}", "Bearer {token}x"],
)
def test_without_its_token_there_is_no_answer(
    endpoint: EngineAddress, authorization: str | None
) -> None:
    assert endpoint.endpoint_file is not None
    found = read_endpoint(endpoint.endpoint_file)
    assert found is not None
    headers = {}
    if authorization is not None:
        headers["Authorization"] = authorization.format(token=found.token)
    with httpx.Client(base_url=found.url, trust_env=False, timeout=WAIT_S) as http:
        refusals = [
            http.get("/health", headers=headers),
            http.post("/v1/completions", headers=headers, json={"prompt": "ab"}),
            http.post("/v1/drain", headers=headers),
            http.get("/metrics", headers=headers),
        ]
        right = {"Authorization": f"Bearer {found.token}"}
        assert http.get("/health", headers=right).status_code == 200
        # A page in a browser is turned away even if it should know the token.
        page = {**right, "Origin": "https://example.org"}
        assert http.get("/health", headers=page).status_code == 403
    assert [refusal.status_code for refusal in refusals] == [401] * 4
    (sentence,) = {refusal.json()["error"]["message"] for refusal in refusals}
    assert "token" in sentence and found.token not in sentence


def test_a_leftover_endpoint_file_gets_neither_request_nor_token(short_path: Path) -> None:
    """The port of a killed engine may be another program's by now."""
    import socket

    path = short_path / "engine.json"
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        write_endpoint(path, Endpoint(f"http://127.0.0.1:{port}", "secret", 1))
        address = EngineAddress(endpoint_file=path)
        with EngineClient(address) as client, pytest.raises(NoEngineError):
            client.health()
        other.setblocking(False)
        with pytest.raises(BlockingIOError):
            other.accept()
    # And an engine can still be started over it.
    ensure_engine(address, command=COMMAND)
    try:
        with EngineClient(address) as client:
            assert client.complete(CompletionRequest(prompt="ab")).choices[0].text == "ba"
    finally:
        stop_engine(address)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "null",
        "{}",
        '{"url": 1, "token": 2, "pid": "x"}',
        '{"url": "http://192.0.2.1:80", "token": "t", "pid": 1}',
        '{"url": "http://127.0.0.1:80", "token": "\\u00e4", "pid": 1}',
        '{"url": "http://[", "token": "t", "pid": 1}',
        "\0",
    ],
)
def test_a_broken_endpoint_file_is_no_engine(short_path: Path, text: str) -> None:
    path = short_path / "engine.json"
    path.write_text(text)
    path.chmod(0o600)
    with (
        EngineClient(EngineAddress(endpoint_file=path)) as client,
        pytest.raises(NoEngineError),
    ):
        client.health()


def test_an_endpoint_file_that_others_can_read_is_not_used(endpoint: EngineAddress) -> None:
    path = endpoint.endpoint_file
    assert path is not None and read_endpoint(path) is not None
    path.chmod(0o644)
    assert read_endpoint(path) is None
    path.chmod(0o600)
    target = path.with_name("real.json")
    path.rename(target)
    path.symlink_to(target)
    assert read_endpoint(path) is None
    path.unlink()
    target.rename(path)


def test_default_address_without_unix_sockets(
    short_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NEMODIFF_RUNTIME_DIR", str(short_path / "own"))
    assert EngineAddress.default().socket is not None
    monkeypatch.setenv("NEMODIFF_TCP", "1")
    address = EngineAddress.default()
    assert address.endpoint_file == short_path / "own" / "engine.json"
    assert EngineAddress.parse(str(address)) == address
    monkeypatch.delenv("NEMODIFF_TCP")
    monkeypatch.setattr(sys, "platform", "win32")
    assert EngineAddress.within(short_path).endpoint_file == short_path / "engine.json"


def test_an_engine_elsewhere_with_token_and_certificate(short_path: Path) -> None:
    """The whole way: TLS that is verified, and a token that is asked for."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed, which makes the certificate")
    cert, key, token = (short_path / name for name in ("cert.pem", "key.pem", "token"))
    make = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost"
    command = [*make.split(), "-addext", "subjectAltName=IP:127.0.0.1"]
    files = ["-keyout", str(key), "-out", str(cert)]
    subprocess.run([*command, *files], check=True, capture_output=True)
    token.write_text("a-token-of-my-own\n")
    listen = ["--port", "0", "--token-file", str(token)]
    tls = ["--tls-cert", str(cert), "--tls-key", str(key)]
    running = EngineProcess([*COMMAND, *listen, *tls], short_path / "log")
    try:
        url = running.announcement.removeprefix("NemoDiff listens on ").strip()
        assert url.startswith("https://127.0.0.1:")
        address = EngineAddress.elsewhere(url, read_token(token), is_plain_allowed=False)
        with EngineClient(address) as client:
            with pytest.raises(EngineUnavailable, match="certificate of the engine"):
                client.health()
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("SSL_CERT_FILE", str(cert))
            with EngineClient(address) as client:
                assert client.complete(CompletionRequest(prompt="ab")).choices[0].text == "ba"
            with EngineClient(EngineAddress(url=url, token="another")) as client:
                with pytest.raises(EngineUnavailable, match="refuses us"):
                    client.health()
                with pytest.raises(EngineRefused) as refused:
                    client.complete(CompletionRequest(prompt="ab"))
        assert refused.value.status == 401
        assert "a-token-of-my-own" not in running.log
    finally:
        running.process.terminate()
        assert running.wait() == 0


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--port", "0", "--tls-cert", "{folder}/none"], "cannot be used"),
        (["--port", "0", "--tls-cert", "{folder}/nonsense"], "cannot be used"),
        (["--port", "0", "--token-file", "{folder}/none"], "cannot be read"),
        (["--port", "0", "--token-file", "{folder}/empty"], "must be one line"),
        (["--socket", "{folder}/e", "--token-file", "{folder}/empty"], "needs --host"),
        (["--port", "0", "--tls-key", "{folder}/nonsense"], "needs --tls-cert"),
        (["--endpoint-file", "{folder}/e", "--socket", "{folder}/s"], "choose one of"),
        (["--endpoint-file", "{folder}/missing/no/e\0"], "NUL"),
    ],
)
def test_wrong_flags_are_one_sentence(
    short_path: Path, capfd: pytest.CaptureFixture[str], flags: list[str], message: str
) -> None:
    (short_path / "nonsense").write_text("no certificate")
    (short_path / "empty").touch()
    filled = [flag.replace("{folder}", str(short_path)) for flag in flags]
    assert main(["engine", "serve", *filled]) in (1, 2)
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith("nemodiff: ") and message in line


def test_code_goes_unencrypted_to_another_machine_on_purpose_only() -> None:
    def elsewhere(url: str, *, allowed: bool = False) -> EngineAddress:
        return EngineAddress.elsewhere(url, "token", is_plain_allowed=allowed)

    assert elsewhere("https://192.0.2.1:8712").token == "token"
    assert elsewhere("http://127.0.0.1:8712").is_local
    assert elsewhere("http://192.0.2.1:1", allowed=True).url == "http://192.0.2.1:1"
    assert "token" not in repr(elsewhere("https://192.0.2.1:8712"))
    with pytest.raises(AddressError, match="not encrypted"):
        elsewhere("http://192.0.2.1:8712")
    for url in ("unix:/x", "/x", "ftp://h", "https://user:pass@h", "https://h/path", "https://"):
        with pytest.raises(AddressError, match="no engine"):
            elsewhere(url)


@pytest.mark.parametrize("token", ["", " ", "two words", "ä", "x" * 513, "a\tb"])
def test_a_token_that_no_header_can_carry_is_refused(short_path: Path, token: str) -> None:
    path = short_path / "token"
    path.write_text(token, encoding="utf-8")
    with pytest.raises(AddressError, match="must be one line") as refused:
        read_token(path)
    assert not token.strip() or token not in str(refused.value)


def test_url_of_an_endpoint_is_loopback(endpoint: EngineAddress) -> None:
    assert endpoint.endpoint_file is not None
    found = read_endpoint(endpoint.endpoint_file)
    assert found is not None
    assert urlsplit(found.url).hostname == "127.0.0.1"
    assert endpoint.is_local and endpoint.path == endpoint.endpoint_file
