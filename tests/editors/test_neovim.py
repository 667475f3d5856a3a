"""A real Neovim against the real language server, engine and default model; nothing is faked.

Marked slow, because it loads the model. Skipped where Neovim 0.12 or the model is missing.
"""

from __future__ import annotations

import ast
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from neovim import PLUGIN_INIT, Neovim, find_neovim

from engine.config import DEFAULT_MODEL
from engine.messages.address import EngineAddress
from engine.messages.launch import stop_engine
from tests.rigs.stock import SOURCE

NEOVIM = find_neovim()

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(NEOVIM is None, reason="Neovim 0.12 is not here: run `make rigs`"),
]

# How fast the machine is must not decide what is seen.
OPTIONS = {"deadlineMs": 120_000, "invokedDeadlineMs": 120_000}
BODY_LINE = 11


@pytest.fixture(scope="module")
def socket(default_model: Path) -> Iterator[Path]:
    """Where one engine listens for all tests here; the first language server starts it."""
    with tempfile.TemporaryDirectory(prefix="nemodiff-") as folder:
        path = Path(folder) / "engine.sock"
        yield path
        stop_engine(EngineAddress(socket=path))


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / ".root").touch()
    (folder / "stock.py").write_text(SOURCE, encoding="utf-8")
    (folder / ".env").write_text("HOST=localhost\nPORT=8000\n", encoding="utf-8")
    return folder


@pytest.fixture
def editor(socket: Path, project: Path) -> Iterator[Neovim]:
    assert NEOVIM is not None
    command = [sys.executable, "-m", "nemodiff_lsp", "--engine-socket", str(socket)]
    command += ["--model", DEFAULT_MODEL]
    with Neovim(NEOVIM, project.parent, command, OPTIONS) as running:
        yield running


def type_below(editor: Neovim, line: int, text: str) -> None:
    """Open a line below `line` (from 0), which Neovim indents, and type `text` into it."""
    editor.press(f"{line + 1}Go")
    editor.type(text)


def is_settled(editor: Neovim) -> bool:
    """Whether the newest request was asked at the cursor and has its answer."""
    requests = editor.requests()
    if not requests or any(request["state"] == "pending" for request in requests):
        return False
    return (requests[-1]["line"], requests[-1]["character"]) == editor.cursor()


def test_ghost_text_appears_and_is_accepted(editor: Neovim, project: Path) -> None:
    editor.open(project / "stock.py")
    type_below(editor, BODY_LINE, "self.counts[article] ")
    ((line, column, ghost),) = editor.wait_for(editor.ghosts)
    assert (line, column) == editor.cursor() == (BODY_LINE + 1, 29)
    assert ghost.strip()
    before = editor.text()
    assert ghost not in before.splitlines()[line], "what is not accepted is not in the buffer"

    editor.press("<Tab>")
    lines = before.split("\n")
    lines[line] = lines[line][:column] + ghost + lines[line][column:]
    editor.wait_for_text("\n".join(lines))
    ast.parse(editor.text())
    assert "quantity" in editor.text().split("\n")[line]


def test_fast_typing_shows_only_the_newest(editor: Neovim, project: Path) -> None:
    """Every request is answered, the overtaken ones with nothing, and the last one is shown."""
    editor.open(project / "stock.py")
    editor.press(f"{BODY_LINE + 1}Go")
    typed = "self.counts[article] "
    for num_typed in range(1, len(typed) + 1):
        num_asked = len(editor.requests())
        editor.type(typed[num_typed - 1])
        if num_typed % 8 == 0:
            # Types on as soon as a request is under way, without looking at its answer.
            editor.wait_for(lambda before=num_asked: len(editor.requests()) > before)
    editor.wait_for(lambda: is_settled(editor))
    ((line, column, ghost),) = editor.wait_for(editor.ghosts)
    assert (line, column) == editor.cursor() == (BODY_LINE + 1, 8 + len(typed))

    *overtaken, newest = editor.requests()
    assert len(overtaken) >= 2
    assert newest["texts"] and ghost == newest["texts"][0]
    assert all(request.get("error") is None for request in [*overtaken, newest])
    # No request for each key: the editor waits until the typing pauses, and the server keeps up.
    assert len(overtaken) < len(typed)


def test_a_file_with_secrets_stays_silent(editor: Neovim, project: Path) -> None:
    editor.open(project / ".env")
    type_below(editor, 1, "PASSWORD")
    secret = "HOST=localhost\nPORT=8000\nPASSWORD"
    for key in "=1":
        editor.wait_for_text(secret)
        editor.wait_for(lambda: is_settled(editor))
        assert editor.ghosts() == []
        secret += key
        editor.press(key)
    assert not any(request.get("texts") for request in editor.requests())
    # The same keys in a file without secrets do get an answer.
    (project / "values.py").write_text("HOST='localhost'\nPORT=8000\n", encoding="utf-8")
    editor.press("<Esc>:w<CR>")
    editor.open(project / "values.py")
    type_below(editor, 1, "URL = f'http://{HOST}:")
    assert editor.wait_for(editor.ghosts)


def test_the_plugin(socket: Path, project: Path) -> None:
    """As the documented set-up has it; Tab is mapped by the plugin."""
    assert NEOVIM is not None
    command = [sys.executable, "-m", "nemodiff_lsp", "--engine-socket", str(socket)]
    plugin = Path(__file__).resolve().parents[2] / "editors" / "neovim"
    options = {"plugin": str(plugin), "settings": OPTIONS}
    with Neovim(NEOVIM, project.parent, command, options, init=PLUGIN_INIT) as editor:
        editor.open(project / "stock.py")
        type_below(editor, BODY_LINE, "self.counts[article] ")
        ((line, column, ghost),) = editor.wait_for(editor.ghosts)
        assert editor.lua("return require('nemodiff').status()") == "NemoDiff"
        before = editor.text().split("\n")[line]
        editor.press("<Tab>")
        editor.wait_for(lambda: editor.text().split("\n")[line] == before[:column] + ghost)
        ast.parse(editor.text())
