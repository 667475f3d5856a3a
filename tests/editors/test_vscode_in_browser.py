"""editors/vscode_in_browser.py: what it serves, for whom, how it ends. Skipped without VS Code."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import httpx
import pytest
from vscode import find_vscode

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "editors" / "vscode_in_browser.py"

pytestmark = [
    pytest.mark.xdist_group("vscode"),
    pytest.mark.skipif(find_vscode() is None, reason="VS Code is not here: run `make rigs`"),
]


@pytest.fixture
def port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@pytest.fixture
def server(port: int, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, str(SCRIPT), "--port", str(port)]
    environment = {**os.environ, "HOME": str(tmp_path)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as running:
        yield running
        running.kill()


def test_only_the_printed_address_is_served(server: subprocess.Popen[str], port: int) -> None:
    assert server.stdout is not None
    found = re.search(r"http://\S+", server.stdout.readline())
    assert found and f"//127.0.0.1:{port}/" in found[0]
    assert "docs/examples/inventory.py" in unquote(found[0])
    assert "Ctrl-C" in server.stdout.readline()
    with httpx.Client(follow_redirects=True) as browser:
        assert browser.get(f"http://127.0.0.1:{port}/").status_code == 403
        assert browser.get(found[0]).status_code == 200
    server.send_signal(signal.SIGINT)
    assert server.wait(60) == 0
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0


def test_a_taken_port_and_a_missing_file_are_told(port: int, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port))
        taken.listen()
        for words in (["--port", str(port)], [str(tmp_path / "none.py")]):
            command = [sys.executable, str(SCRIPT), *words]
            run = subprocess.run(command, capture_output=True, text=True, timeout=60)
            assert run.returncode == 2 and "Traceback" not in run.stderr
            assert "is taken" in run.stderr or "is not a file" in run.stderr
