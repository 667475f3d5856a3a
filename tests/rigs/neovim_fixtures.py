"""Fixtures of the tests of Neovim's plugin: editors with it, and an engine that a test controls.

The language server is the real one; its engine knows its answers by heart. Skipped without Neovim;
one without inline completion (0.10) draws by the plugin, as does a newer one that is told to.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

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
    ["s = '🙂é'; gruß = '🙂🙂' + ende"],
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
FILL_TEXTS = ["return f'Grüße, {name} 🙂'", "return sum(values)"]
REPAIR_PAIR = ("retrun", "return")
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
        script = {"completions": SCRIPT, "fill": FILL_TEXTS, "repair": REPAIR_PAIR}
        self._script.write_text(json.dumps(script), encoding="utf-8")
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
        try:
            return self._get("/health").is_success
        except httpx.TransportError:
            return False

    def asked(self) -> list[dict[str, Any]]:
        """The fills and repairs asked for."""
        found: list[dict[str, Any]] = self._get("/asked").json()
        return found

    def _get(self, path: str) -> httpx.Response:
        transport = httpx.HTTPTransport(uds=str(self.socket))
        with httpx.Client(transport=transport, base_url="http://localhost") as client:
            return client.get(path)

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


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The home of the editors here; the project lies in it."""
    folder = tmp_path_factory.mktemp("home")
    (folder / "project" / ".git").mkdir(parents=True)
    return folder


@pytest.fixture
def project(folder: Path) -> Path:
    """A repository with a file to type into, as it was before any test."""
    (folder / "project" / "stock.py").write_text(SOURCE, encoding="utf-8")
    (folder / "project" / ".env").write_text("HOST=localhost\n", encoding="utf-8")
    return folder / "project"


StartEditor = Callable[..., Neovim]


def new_neovim(engine: Engine, home: Path, kind: Kind, **options: object) -> Neovim:
    """An editor of a kind, with the plugin; options: as neovim_plugin_init.lua has them.

    record: a file that gets all that the language server is told. command: another server's.
    """
    if kind.program is None:
        pytest.skip(kind.skip_reason())
    usual = [sys.executable, "-m", "nemodiff_lsp", "--engine-socket", str(engine.socket)]
    command = cast("list[str]", options.pop("command", [*usual, "--no-engine-start"]))
    record = options.pop("record", None)
    if record is not None:
        command = ["sh", "-c", f"tee '{record}' | {shlex.join(command)}"]
    settings = {"deadlineMs": 60_000, "invokedDeadlineMs": 60_000, "statistics": False}
    given = {"plugin": str(PLUGIN), "ghost_text": kind.ghost_text, "settings": settings}
    editor = Neovim(kind.program, home, command, given | options, init=PLUGIN_INIT)
    editor.guard_s = 60.0
    return editor


@pytest.fixture
def start_editor(engine: Engine, project: Path) -> Iterator[StartEditor]:
    """Starts an editor of a test's own; is_early: waits for no server."""
    running: list[Neovim] = []

    def start(kind: Kind, *, is_early: bool = False, **options: object) -> Neovim:
        editor = new_neovim(engine, project.parent, kind, **options)
        running.append(editor)
        if is_early:
            editor.lua("vim.cmd.edit(...)", str(project / "stock.py"))
            return editor
        editor.open(project / "stock.py")
        if engine.is_up() and "is_bare" not in options:
            editor.wait_for(lambda: status(editor) == "NemoDiff")
        return editor

    yield start
    for editor in running:
        editor.__exit__()


class Editors:
    """Editors that tests share, one of each kind; each test finds its file as it was."""

    def __init__(self, engine: Engine, home: Path) -> None:
        self._engine, self._home = engine, home
        self._running: dict[Kind, Neovim] = {}

    def of(self, kind: Kind) -> Neovim:
        if kind not in self._running:
            self._running[kind] = new_neovim(self._engine, self._home, kind)
        editor = self._running[kind]
        editor.press("<C-\\><C-n>")
        editor.lua(
            "vim.cmd('silent! tabonly | silent! only! | silent! %bwipeout!') "
            "vim.diagnostic.reset() _G.requests, _G.messages = {}, {}"
        )
        editor.open(self._home / "project" / "stock.py")
        # After a file that gets nothing the server says so until it is asked again.
        editor.wait_for(lambda: status(editor) in ("NemoDiff", "NemoDiff \N{EN DASH}"))
        return editor

    def drop(self, kind: Kind) -> None:
        editor = self._running.pop(kind, None)
        if editor is not None:
            editor.__exit__()


@pytest.fixture(scope="module")
def editors(running_engine: Engine, folder: Path) -> Iterator[Editors]:
    shared = Editors(running_engine, folder)
    yield shared
    for each in KINDS.values():
        shared.drop(each)


@pytest.fixture(params=KINDS.values(), ids=KINDS)
def kind(request: pytest.FixtureRequest) -> Kind:
    """Each way of drawing."""
    found: Kind = request.param
    if found.program is None:
        pytest.skip(found.skip_reason())
    return found


def _lent(
    kind: Kind, request: pytest.FixtureRequest, engine: Engine, editors: Editors
) -> Iterator[Neovim]:
    engine.start()
    num_failed = request.session.testsfailed
    yield editors.of(kind)
    if request.session.testsfailed > num_failed:
        # Nobody knows what it is in the middle of.
        editors.drop(kind)


@pytest.fixture
def editor(
    kind: Kind, request: pytest.FixtureRequest, engine: Engine, editors: Editors, project: Path
) -> Iterator[Neovim]:
    """A shared editor of each kind, with the project's file opened."""
    yield from _lent(kind, request, engine, editors)


@pytest.fixture
def new_editor(
    request: pytest.FixtureRequest, engine: Engine, editors: Editors, project: Path
) -> Iterator[Neovim]:
    """A shared Neovim 0.12 that draws by itself."""
    if NEW is None:
        pytest.skip(KINDS["neovims-own"].skip_reason())
    yield from _lent(KINDS["neovims-own"], request, engine, editors)


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
