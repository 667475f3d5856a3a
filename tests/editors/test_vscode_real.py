"""The extension in a real VS Code workbench with the real engine and the default model.

Marked slow. Skipped where the workbench or the model is missing. Pictures of the window are kept in
the folder that NEMODIFF_ARTIFACTS names.
"""

from __future__ import annotations

import ast
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent / "vscode"))

from session import HOLE_LINE, INVOKED, Session, open_session
from vscode import find_vscode, package_extension

from engine.config import DEFAULT_MODEL

VSCODE = find_vscode()

pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group("vscode"),
    pytest.mark.skipif(VSCODE is None, reason="VS Code's workbench is not here: run `make rigs`"),
]

COPIES = [f"{name}.py" for name in "warehouse through fast alternatives killed".split()]
START = "        self.counts[article] "
DEADLINE_MS = 120_000


@pytest.fixture(scope="module")
def session(default_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    """One window and one engine for all tests here; each opens a file of its own."""
    assert VSCODE is not None
    home = tmp_path_factory.mktemp("vscode")
    vsix = package_extension(VSCODE, tmp_path_factory.mktemp("extension"))
    with open_session(
        VSCODE, vsix, home, COPIES, DEADLINE_MS, "-m", "nemodiff_lsp", "--model", DEFAULT_MODEL
    ) as opened:
        yield opened


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    named = os.environ.get("NEMODIFF_ARTIFACTS")
    return Path(named) if named else tmp_path_factory.mktemp("artifacts")


def line_of(text: str) -> str:
    return text.split("\n")[HOLE_LINE]


def test_ghost_text_of_the_model_is_taken(session: Session, artifacts: Path) -> None:
    assert DEFAULT_MODEL in session.window.status()["label"]
    path = session.copy("warehouse.py")
    session.window.type(START)
    ghost = session.wait_for_ghost()
    assert "quantity" in ghost
    session.window.screenshot(artifacts / "vscode.png")
    session.window.press("Tab")
    session.window.wait_for(lambda: not session.window.ghost())
    saved = session.saved(path)
    assert line_of(saved) == START + ghost
    ast.parse(saved)


def test_typing_through_keeps_the_rest(session: Session) -> None:
    session.copy("through.py")
    session.window.type(START)
    ghost = session.wait_for_ghost()
    for typed in range(1, 4):
        session.window.type(ghost[typed - 1])
        session.window.wait_for(lambda rest=ghost[typed:]: session.window.ghost() == rest)


def test_fast_typing_shows_the_newest(session: Session) -> None:
    path = session.copy("fast.py")
    num_asked = len(session.asked())
    session.window.type(START, delay_ms=60)
    ghost = session.wait_for_ghost()
    session.window.wait_for(session.is_settled)
    asked = session.asked()[num_asked:]
    assert len(asked) >= 2
    session.window.press("Tab")
    assert line_of(session.saved(path)) == START + ghost


def test_alternatives_and_words(session: Session) -> None:
    path = session.copy("alternatives.py")
    session.window.type(START)
    first = session.wait_for_ghost()
    session.window.press("Alt+\\")
    session.window.wait_for(
        lambda: (
            session.asked()[-1]["params"]["context"]["triggerKind"] == INVOKED
            and session.is_settled()
        )
    )
    items = session.answers()[session.asked()[-1]["id"]]["result"]["items"]
    texts = [item["insertText"] for item in items]
    assert len(set(texts)) == len(texts) >= 1 and texts[0] == first
    session.window.press("Alt+ArrowRight")
    session.window.wait_for(lambda: 0 < len(session.window.ghost()) < len(first))
    rest = session.window.ghost()
    session.window.press("Escape")
    assert line_of(session.saved(path)) == START + first.removesuffix(rest)


def test_a_file_with_secrets_stays_silent(session: Session) -> None:
    session.edit(".env")
    session.window.press("Control+End")
    num_asked = len(session.asked())
    session.window.type("PASSWORD=1")
    session.window.wait_for(lambda: len(session.asked()) > num_asked and session.is_settled())
    assert session.window.ghost() == ""


def test_a_killed_engine_comes_back(session: Session) -> None:
    session.copy("killed.py")
    session.window.type(START)
    session.wait_for_ghost()
    session.window.press("Escape")
    pid = session.kill_engine()
    # Elsewhere, for what was offered here is still known without an engine.
    session.window.press("End", "Enter")
    session.window.type("self.counts[article] -")

    def retyped() -> str:
        """Typing is what calls an engine."""
        session.window.press("Backspace")
        session.window.type("-")
        session.window.wait_for(session.is_settled)
        return session.window.ghost()

    assert session.window.wait_for(retyped)
    assert session.engine_pid() != pid
