"""Editors that talk to the engine or the server by a snippet of editors/others.

Helix is run; of the others, which are not here, the request that each sends is sent: its fields are
those of the editors' own sources.
"""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import select
import struct
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from get_emacs import helix_folder, helix_program

from tests.server.scripted_engine import ScriptedEngine
from tests.server.server_harness import Harness, run_server

ROOT = Path(__file__).resolve().parents[2]
SNIPPETS = ROOT / "editors" / "others"
ENGINE = ROOT / "tests" / "rigs" / "neovim_engine.py"
FOLDER = Path(os.environ.get("NEMODIFF_HELIX", helix_folder()))
HELIX = helix_program(FOLDER)
GUARD_S = 30.0

QWEN_MARKS = ["<|endoftext|>", "<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>"]
ZED = {
    "model": "scripted",
    "prompt": "<|fim_prefix|>total = <|fim_suffix|>\n<|fim_middle|>",
    "max_tokens": 64,
    "stop": QWEN_MARKS,
}
MINUET = {
    "model": "scripted",
    "stream": True,
    "max_tokens": 64,
    "prompt": "# language: python\ntotal = ",
    "suffix": "\n",
}
CONTINUE = {
    "model": "scripted",
    "max_tokens": 64,
    "temperature": 0.01,
    "stream": True,
    "stop": [*QWEN_MARKS, "\n\n", "/src/", "#- coding: utf-8", "```"],
    "prompt": "<|fim_prefix|>total = <|fim_suffix|>\n<|fim_middle|>",
}


@pytest.fixture(scope="module")
def engine() -> Iterator[Harness]:
    """The engine's HTTP interface on a port, with a scripted model."""
    with (
        tempfile.TemporaryDirectory(prefix="nd-") as folder,
        run_server(ScriptedEngine(), Path(folder), tcp=True) as running,
    ):
        yield running


@pytest.mark.parametrize("body", [ZED, MINUET, CONTINUE], ids=["zed", "minuet", "continue"])
def test_the_request_is_answered(engine: Harness, body: dict[str, Any]) -> None:
    headers = {"Authorization": "Bearer none", "Accept": "application/json", "api-key": "none"}
    with engine.http() as client:
        answer = client.post("/v1/completions", json=body, headers=headers)
    assert answer.status_code == 200, answer.text
    text = streamed(answer.text) if body.get("stream") else answer.json()["choices"][0]["text"]
    assert text
    # Whoever writes a model's marks into the prompt means its two sides.
    asked = engine.engine.requests[-1]
    assert asked.prompt.endswith("total = ") and asked.suffix == "\n"
    if not body.get("stream"):
        assert {"id", "object", "created", "model", "choices", "usage"} <= set(answer.json())


def streamed(events: str) -> str:
    """The text of server-sent events as these editors join it."""
    lines = [line.removeprefix("data: ") for line in events.splitlines() if line]
    assert lines.pop() == "[DONE]"
    return "".join(json.loads(line)["choices"][0]["text"] for line in lines)


def test_the_snippets_lead_to_the_same_requests() -> None:
    zed = json.loads((SNIPPETS / "zed.json").read_text(encoding="utf-8"))["edit_predictions"]
    server = zed["open_ai_compatible_api"]
    assert zed["provider"] == "open_ai_compatible_api"
    assert server["api_url"].endswith(":8712/v1/completions")
    assert server["max_output_tokens"] == ZED["max_tokens"]
    minuet = (SNIPPETS / "minuet.lua").read_text(encoding="utf-8")
    assert "end_point = 'http://127.0.0.1:8712/v1/completions'" in minuet
    assert "max_tokens = 64" in minuet
    others = (SNIPPETS / "continue.yaml").read_text(encoding="utf-8")
    assert "apiBase: http://127.0.0.1:8712/v1\n" in others
    assert "useLegacyCompletionsEndpoint: true" in others
    template = '"<|fim_prefix|>{{{prefix}}}<|fim_suffix|>{{{suffix}}}<|fim_middle|>"'
    assert f"autocomplete: {template}" in others


def test_sublimes_client_gets_a_menu() -> None:
    """Its LSP package announces completion and no inline completion."""
    snippet = json.loads((SNIPPETS / "sublime.json").read_text(encoding="utf-8"))
    assert snippet["clients"]["nemodiff"]["command"] == ["nemodiff", "lsp"]
    capabilities = {"textDocument": {"completion": {"completionItem": {"snippetSupport": True}}}}
    params = {
        "processId": None,
        "rootUri": None,
        "clientInfo": {"name": "Sublime Text LSP", "version": "2.4.0"},
        "capabilities": capabilities,
    }
    message = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params})
    request = f"Content-Length: {len(message)}\r\n\r\n{message}".encode()
    command = [sys.executable, "-m", "nemodiff_lsp", "--no-engine-start"]
    run = subprocess.run(command, input=request, capture_output=True, cwd=ROOT, timeout=120)
    body = run.stdout.split(b"\r\n\r\n", 1)[1]
    offered = json.JSONDecoder().raw_decode(body.decode())[0]["result"]["capabilities"]
    assert "." in offered["completionProvider"]["triggerCharacters"]


class Terminal:
    """A program in a terminal of its own, whose output is kept."""

    def __init__(self, command: list[str], environment: dict[str, str], folder: Path) -> None:
        self.seen = ""
        self.pid, self._descriptor = pty.fork()
        if self.pid == 0:
            os.chdir(folder)
            fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
            os.execve(command[0], command, environment)

    def press(self, keys: str) -> None:
        os.write(self._descriptor, keys.encode())

    def wait_for(self, is_so: Callable[[], bool]) -> None:
        limit_s = time.monotonic() + GUARD_S
        while not is_so():
            assert time.monotonic() < limit_s, f"waited in vain: {self.seen[-2000:]!r}"
            if select.select([self._descriptor], [], [], 0.05)[0]:
                self.seen += os.read(self._descriptor, 65536).decode(errors="replace")

    def pause(self) -> None:
        """Let the program read what was pressed so far by itself."""
        limit_s = time.monotonic() + 0.5
        self.wait_for(lambda: time.monotonic() > limit_s)

    def letters(self) -> str:
        """All that was written, without the terminal's commands and spaces."""
        return re.sub(r"\x1b\[[0-9;:?]*[a-zA-Z]|\x1b.|\s", "", self.seen)


@pytest.mark.skipif(HELIX is None, reason="Helix is not here: run `make rigs`")
def test_an_item_is_taken_in_helix(tmp_path: Path) -> None:
    socket, script = tmp_path / "e.sock", tmp_path / "script.json"
    script.write_text(json.dumps([["return sum(self.counts.values())"]]), encoding="utf-8")
    command = [sys.executable, str(ENGINE), str(socket), str(script), "1"]
    program = tmp_path / "bin" / "nemodiff"
    program.parent.mkdir()
    arguments = f"--engine-socket '{socket}' --no-engine-start"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m nemodiff_lsp {arguments}\n')
    program.chmod(0o755)
    (tmp_path / ".git").mkdir()
    config = tmp_path / "config" / "helix"
    config.mkdir(parents=True)
    (config / "languages.toml").write_bytes((SNIPPETS / "helix.toml").read_bytes())
    file = tmp_path / "stock.py"
    file.write_text("class Stock:\n    def total(self) -> int:\n        ", encoding="utf-8")
    environment = {
        **os.environ,
        "PATH": f"{program.parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "NEMODIFF_DEADLINE_MS": "60000",
        "XDG_CONFIG_HOME": str(config.parent),
        "XDG_CACHE_HOME": str(tmp_path),
        "HELIX_RUNTIME": str(FOLDER / "usr" / "lib" / "hx" / "runtime"),
        "TERM": "xterm",
    }
    with subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(ROOT)}) as engine:
        terminal = Terminal([str(HELIX), str(file)], environment, tmp_path)
        try:
            terminal.wait_for(lambda: socket.exists() and "stock.py" in terminal.seen)
            take_an_item(terminal, file)
        finally:
            os.kill(terminal.pid, 9)
            os.waitpid(terminal.pid, 0)
            engine.kill()


def take_an_item(terminal: Terminal, file: Path) -> None:
    """Type, again while no menu comes since the server has just been started, and take the item."""
    terminal.press("gegl")
    for _ in range(6):
        terminal.seen = ""
        terminal.press("areturn sum(")
        deadline_s = time.monotonic() + 5.0
        terminal.wait_for(
            lambda limit_s=deadline_s: (
                "self.counts.values" in terminal.letters() or time.monotonic() > limit_s
            )
        )
        if "self.counts.values" in terminal.letters():
            break
        terminal.press("\x1b")
        terminal.pause()
        terminal.press("u")
    else:
        pytest.fail(f"no menu: {terminal.letters()[-500:]!r}")
    terminal.press("\x0e\r")
    terminal.pause()
    terminal.press("\x1b")
    # Together with what follows it would be another key.
    terminal.pause()
    terminal.press(":w\r")
    terminal.wait_for(lambda: "self.counts.values()" in file.read_text(encoding="utf-8"))
