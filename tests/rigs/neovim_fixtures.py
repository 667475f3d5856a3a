"""Fixtures of the tests of Neovim's plugin: editors with it, and an engine that a test controls.

The language server is the real one; its engine knows its answers by heart. Skipped where there is
no Neovim; the one without inline completion (0.10) draws by the plugin, and so does a newer one
that is told to.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from neovim import PLUGIN_INIT, Neovim, find_neovim, find_old_neovim

ROOT = Path(__file__).resolve().parents[2]
PLUGIN = ROOT / "editors" / "neovim"
ENGINE = ROOT / "tests" / "rigs" / "neovim_engine.py"
NEW, OLD = find_neovim(), find_old_neovim()

RETURN = "return self.counts[article]"
SCRIPT = [
    [RETURN, "return self.total(article)", "return len(self.counts)"],
    ["for article in self.counts:\n            self.check(article)\n            yield article"],
    ["total_größe = sum(self.counts.values())"],
]
SOURCE = '''class Stock:
    """What lies in the warehouse: pieces per article."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}

    def count(self, article: str) -> int:
        """How many pieces of `article` there are."""

    def other(self) -> None:
        """Nothing."""
'''
BODY_LINE = 7
COMPLETE_RETURN = f"        {RETURN}"


@dataclass(frozen=True)
class Kind:
    """A way of drawing. ghost_text: as the plugin's option."""

    program: Path | None
    ghost_text: str

    def skip_reason(self) -> str:
        what = "0.10" if self.program is OLD else "0.12"
        return f"Neovim {what} is not here: run `make rigs`"


KINDS = {
    "neovims-own": Kind(NEW, "auto"),
    "plugins-own": Kind(NEW, "own"),
    "old-neovim": Kind(OLD, "auto"),
}


class Engine:
    """The engine's process; `start` and `kill` in any order."""

    def __init__(self, folder: Path) -> None:
        self.socket = folder / "engine.sock"
        self._script = folder / "script.json"
        self._script.write_text(json.dumps(SCRIPT), encoding="utf-8")
        self._process: subprocess.Popen[bytes] | None = None
        self._forward_ms = 0.0

    def start(self, forward_ms: float = 1.0) -> None:
        if self._process is not None and forward_ms == self._forward_ms:
            return
        self.kill()
        self._forward_ms = forward_ms
        command = [sys.executable, str(ENGINE), str(self.socket), str(self._script)]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        self._process = subprocess.Popen([*command, str(forward_ms)], env=environment)
        while not self.is_up():
            assert self._process.poll() is None, "the engine did not start"

    def is_up(self) -> bool:
        transport = httpx.HTTPTransport(uds=str(self.socket))
        try:
            with httpx.Client(transport=transport, base_url="http://localhost") as client:
                return client.get("/health").is_success
        except httpx.TransportError:
            return False

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self.socket.unlink(missing_ok=True)
            self._process = None


@pytest.fixture(scope="module")
def running_engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    running = Engine(tmp_path_factory.mktemp("e"))
    yield running
    running.kill()


@pytest.fixture
def engine(running_engine: Engine) -> Engine:
    """The engine of the tests here; whoever needs it slow or dead starts it anew."""
    return running_engine


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / ".git").mkdir()
    (folder / "stock.py").write_text(SOURCE, encoding="utf-8")
    (folder / ".env").write_text("HOST=localhost\n", encoding="utf-8")
    return folder


StartEditor = Callable[..., Neovim]


@pytest.fixture
def start_editor(engine: Engine, project: Path) -> Iterator[StartEditor]:
    """Starts an editor of a kind, with the plugin; options: as neovim_plugin_init.lua has them."""
    running: list[Neovim] = []

    def start(kind: Kind, **options: object) -> Neovim:
        if kind.program is None:
            pytest.skip(kind.skip_reason())
        command = [sys.executable, "-m", "nemodiff_lsp", "--engine-socket", str(engine.socket)]
        command.append("--no-engine-start")
        settings = {"deadlineMs": 60_000, "invokedDeadlineMs": 60_000, "statistics": False}
        given = {"plugin": str(PLUGIN), "ghost_text": kind.ghost_text, "settings": settings}
        home = project.parent
        editor = Neovim(kind.program, home, command, given | options, init=PLUGIN_INIT)
        running.append(editor)
        editor.open(project / "stock.py")
        if engine.is_up() and "is_bare" not in options:
            # Before it has found the engine, the server answers with nothing.
            editor.wait_for(lambda: status(editor) == "NemoDiff")
        return editor

    yield start
    for editor in running:
        editor.__exit__()


@pytest.fixture(params=KINDS.values(), ids=KINDS)
def editor(request: pytest.FixtureRequest, engine: Engine, start_editor: StartEditor) -> Neovim:
    if request.param.program is None:
        pytest.skip(request.param.skip_reason())
    engine.start()
    return start_editor(request.param)


@pytest.fixture
def new_editor(engine: Engine, start_editor: StartEditor) -> Neovim:
    if NEW is None:
        pytest.skip(KINDS["neovims-own"].skip_reason())
    engine.start()
    return start_editor(KINDS["neovims-own"])


def type_below(editor: Neovim, text: str, line: int = BODY_LINE) -> None:
    editor.press(f"{line + 1}Go")
    editor.type(text)


def ghost(editor: Neovim) -> str:
    """The ghost text at the cursor, or an empty text."""
    found = editor.ghosts()
    return found[0][2] if found and found[0][:2] == editor.cursor() else ""


def wait_for_ghost(editor: Neovim, text: str) -> None:
    editor.wait_for(lambda: ghost(editor) == text)


def line_of(editor: Neovim) -> str:
    return editor.text().split("\n")[editor.cursor()[0]]


def status(editor: Neovim) -> str:
    return str(editor.lua("return require('nemodiff').status()"))


def type_until_ghost(editor: Neovim) -> None:
    """Types the same line anew while nothing comes, as a person would."""

    def is_there() -> bool:
        num_asked = len(editor.requests())
        editor.press("<Esc>S")
        editor.type("return self.")
        editor.wait_for(
            lambda: (
                len(editor.requests()) > num_asked and editor.requests()[-1]["state"] == "answered"
            )
        )
        return bool(editor.ghosts())

    editor.wait_for(is_there)
