"""What the tests in VS Code share: a project, and a record of what client and server say."""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
from vscode import Workbench

from engine.messages.address import EngineAddress
from engine.messages.client import EngineClient
from engine.messages.launch import stop_engine
from tests.rigs.stock import SOURCE

RELAY = Path(__file__).with_name("relay.py")
SERVE_SCRIPTED = Path(__file__).with_name("serve_scripted.py")

_MAX_REPEATS = 20

HOLE_LINE = 12
"""From 0; empty until a test types into it."""

INVOKED = 1


def make_project(folder: Path, *names: str) -> None:
    """names: of copies of stock.py. Nothing watches the files, so they are there from the start."""
    folder.mkdir()
    for name in ("stock.py", *names):
        (folder / name).write_text(SOURCE, encoding="utf-8")
    (folder / ".env").write_text("HOST=localhost\nPORT=8000\n", encoding="utf-8")


def server_command(record: Path, *server: str) -> list[str]:
    """The setting `nemodiff.server.command` for `python SERVER…`, with a record of its messages."""
    return [sys.executable, str(RELAY), str(record), sys.executable, *server]


class Session:
    """One open window with its record."""

    def __init__(self, window: Workbench, folder: Path, record: Path, engine_socket: Path) -> None:
        self.window, self.folder = window, folder
        self._record, self._engine_socket = record, engine_socket
        self._settings = json.loads(window.machine_settings.read_text(encoding="utf-8"))
        self.hold = engine_socket.with_name("hold")
        """While there is such a file, a scripted engine does not come to the end of its loading."""

    def noted(self, method: str, *, whose: str = "client") -> list[dict[str, Any]]:
        """The messages so far of this method."""
        return [m for m in self._messages() if m["method"] == method and m["from"] == whose]

    def answers(self) -> dict[int, dict[str, Any]]:
        """What the server has answered, by the id of the request."""
        return {
            m["id"]: m for m in self._messages() if m["from"] == "server" and m["method"] is None
        }

    def num_servers(self) -> int:
        """How many have been started."""
        return len(self._starts(self._lines()))

    def _messages(self) -> list[dict[str, Any]]:
        """Those of the newest server, whose ids begin anew."""
        lines = self._lines()
        return lines[max(self._starts(lines), default=0) :]

    def _lines(self) -> list[dict[str, Any]]:
        if not self._record.exists():
            return []
        text = self._record.read_text(encoding="utf-8")
        # The last line may be half written.
        return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]

    @staticmethod
    def _starts(lines: list[dict[str, Any]]) -> list[int]:
        return [i for i, line in enumerate(lines) if line["method"] == "initialize"]

    def asked(self) -> list[dict[str, Any]]:
        return self.noted("textDocument/inlineCompletion")

    def edit(self, name: str) -> Path:
        """Open a file by its name; the cursor is where it was, or at its start."""

        def is_listed() -> bool:
            self.window.press("Escape", "Control+p")
            self.window.type(name)
            return self.window.is_soon(
                lambda: any(name in each for each in self.window.choices()[:1]), within_s=5.0
            )

        self.window.wait_for(is_listed)
        self.window.press("Enter")
        self.window.wait_for(lambda: name in self.window.ask("tab") and self.window.ask("lines"))
        return self.folder / name

    def command(self, title: str) -> None:
        """Run a command by its title in the palette."""

        def is_listed() -> bool:
            # What was shown before may swallow the first keys.
            self.window.press("Escape", "F1")
            self.window.type(title)
            return self.window.is_soon(lambda: self._place_of(title) is not None, within_s=5.0)

        self.window.wait_for(is_listed)
        self.choose(title)

    def choose(self, label: str) -> None:
        """Take the entry of the open menu that begins with `label`, its icon apart."""
        self.window.wait_for(lambda: self._place_of(label) is not None)
        self.window.press(*["ArrowDown"] * (self._place_of(label) or 0), "Enter")

    def _place_of(self, label: str) -> int | None:
        choices = [each.split(",")[0].strip() for each in self.window.choices()]
        return next((i for i, each in enumerate(choices) if each.endswith(label)), None)

    def copy(self, name: str) -> Path:
        """Open a copy of stock.py with the cursor in the hole."""
        path = self.edit(name)
        self.to_hole()
        return path

    def to_hole(self) -> None:
        """Give the editor the focus, with the cursor at the end of the hole's line."""
        self.window.ask("focus")
        self.window.press("Control+Home", *["ArrowDown"] * HOLE_LINE, "End")

    def type_first(self, text: str) -> None:
        """Type into a window that is new: its editor may ask nobody yet, so the end is repeated."""
        num_asked = len(self.asked())
        self.window.type(text)
        for _ in range(_MAX_REPEATS):
            if self.window.is_soon(lambda: len(self.asked()) > num_asked):
                return
            self.window.press("Backspace")
            self.window.type(text[-1])
        raise AssertionError("The editor never asks for completions.")

    def wait_for_ready(self) -> None:
        self.window.wait_for(lambda: "ready" in self.window.status().get("label", ""))

    def wait_for_ghost(self) -> str:
        return self.window.wait_for(self.window.ghost)

    def saved(self, path: Path) -> str:
        """Save the file and return what is on disk."""
        before = path.read_text(encoding="utf-8")
        self.window.press("Control+s")
        # An editor empties a file before it writes it.
        self.window.wait_for(lambda: path.read_text(encoding="utf-8") not in ("", before))
        return path.read_text(encoding="utf-8")

    def is_settled(self) -> bool:
        """Whether every request has its answer."""
        answers = self.answers()
        asked = self.asked()
        return bool(asked) and all(each["id"] in answers for each in asked)

    def wait_for_answer_at(self, character: int) -> None:
        """Until the newest request was asked at this column and has its answer."""
        self.window.wait_for(
            lambda: (
                self.is_settled()
                and self.asked()[-1]["params"]["position"]["character"] == character
            )
        )

    def wait_for_message(self, beginning: str) -> str:
        """The message that begins so, which is then taken from the screen, with all others."""
        found = self.window.wait_for(
            lambda: [each for each in self.window.messages() if each.startswith(beginning)]
        )
        self.command("Notifications: Clear All Notifications")
        self.window.wait_for(lambda: not self.window.messages())
        return found[0]

    def trust_folder(self) -> None:
        """As a person does it who has looked around."""
        self.command("Workspaces: Manage Workspace Trust")
        self.window.click('.workspace-trust-editor .monaco-button >> text="Trust"')

    def open_settings(self) -> None:
        """Those of the machine, as JSON."""
        self.window.press("Escape", "F1")
        self.window.type("Open Remote Settings (JSON)")
        self.window.wait_for(lambda: "Open Remote Settings (JSON)" in self.window.choices()[0])
        self.window.press("Enter")
        self.window.wait_for(
            lambda: (
                "settings.json" in self.window.ask("tab")
                and any("workbench" in each for each in self.window.ask("lines"))
            )
        )
        self.window.ask("focus")

    def change_settings(self, **changed: Any) -> None:
        """Save other values of ours in the opened settings; `server_command` is server.command."""
        names = {f"nemodiff.{name.replace('_', '.')}": value for name, value in changed.items()}
        wanted = {**self._settings, **names}
        self.window.press("Control+a", "Delete")
        self.window.ask("insert", text=json.dumps(wanted))
        self.window.press("Control+s")
        # The editor may lay them out anew, and empties the file before it writes it.
        self.window.wait_for(lambda: _read_json(self.window.machine_settings) == wanted)

    def server_pids(self) -> list[int]:
        """The processes that were started as this session's language server."""
        found = psutil.process_iter(["pid", "cmdline"])
        return [
            each.info["pid"]
            for each in found
            if {str(RELAY), str(self._record)} <= set(each.info["cmdline"] or ())
        ]

    def engine_pid(self) -> int:
        with EngineClient(EngineAddress(socket=self._engine_socket)) as client:
            return int(client.health()["pid"])

    def kill_engine(self) -> int:
        """End the engine as a crash would; its process id."""
        pid = self.engine_pid()
        os.kill(pid, signal.SIGKILL)
        while Path(f"/proc/{pid}").exists() and _state(pid) != "Z":
            time.sleep(0.02)
        return pid


def _read_json(path: Path) -> object:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return None


def _state(pid: int) -> str:
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except OSError:
        return "Z"
    return text.rpartition(")")[2].split()[0]


@contextmanager
def open_session(
    code: Path,
    vsix: Path,
    home: Path,
    copies: Sequence[str],
    deadline_ms: int,
    *server: str,
    files: Mapping[str, str] | None = None,
    asks_for_trust: bool = False,
) -> Iterator[Session]:
    """A window on a project of its own, ready to complete; its engine is ended with it.

    server: arguments of Python that start the language server, but for the engine's socket.
    deadline_ms: long, for how fast the machine is must not decide what is seen. files: more of
    them, by their paths in `home`. asks_for_trust: the project is not trusted.
    """
    make_project(home / "project", *copies)
    for name, text in (files or {}).items():
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text(text, encoding="utf-8")
    with tempfile.TemporaryDirectory(prefix="nemodiff-") as folder:
        socket = Path(folder) / "engine.sock"
        command = server_command(home / "record.jsonl", *server, "--engine-socket", str(socket))
        settings = {
            "nemodiff.server.command": command,
            "nemodiff.deadlineMs": deadline_ms,
            "nemodiff.invokedDeadlineMs": deadline_ms,
        }
        try:
            with Workbench(
                code, home / "data", vsix, settings, asks_for_trust=asks_for_trust
            ) as window:
                window.open(home / "project", home / "project" / "stock.py")
                opened = Session(window, home / "project", home / "record.jsonl", socket)
                opened.wait_for_ready()
                yield opened
        finally:
            stop_engine(EngineAddress(socket=socket))
