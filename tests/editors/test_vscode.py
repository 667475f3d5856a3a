"""The extension in a real VS Code workbench, with the real server; only the model is scripted.

Skipped where the workbench is missing: `make rigs` installs it.
"""

from __future__ import annotations

import re
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent / "vscode"))

from session import HOLE_LINE, INVOKED, SERVE_SCRIPTED, Session, make_project, open_session
from vscode import Workbench, find_vscode, package_extension

VSCODE = find_vscode()

pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group("vscode"),
    pytest.mark.skipif(VSCODE is None, reason="VS Code's workbench is not here: run `make rigs`"),
]

START = "        self.counts[article] "
FIRST = "= self.counts[article] - quantity"
COPIES = [
    f"{name}.py"
    for name in "tab through fast alternatives word line status plain untitled killed".split()
]
ALTERNATIVES = {FIRST, "-= quantity", "= max(0, self.counts[article] - quantity)"}
DEADLINE_MS = 60_000


@pytest.fixture(scope="module")
def vsix(tmp_path_factory: pytest.TempPathFactory) -> Path:
    assert VSCODE is not None
    return package_extension(VSCODE, tmp_path_factory.mktemp("extension"))


@pytest.fixture(scope="module")
def session(vsix: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    """One window for all tests here; each opens a file of its own."""
    assert VSCODE is not None
    home = tmp_path_factory.mktemp("vscode")
    with open_session(VSCODE, vsix, home, COPIES, DEADLINE_MS, str(SERVE_SCRIPTED)) as opened:
        yield opened


def test_without_a_server_it_says_so_and_offers_to_get_one(vsix: Path, tmp_path: Path) -> None:
    assert VSCODE is not None
    make_project(tmp_path / "project")
    bare = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    with Workbench(VSCODE, tmp_path / "data", vsix, {}, bare) as window:
        window.open(tmp_path / "project", tmp_path / "project" / "stock.py")
        window.wait_for(lambda: "not installed" in window.status().get("label", ""))
        (message,) = window.wait_for(window.messages)
        assert message == "NemoDiff needs its language server, which is not installed yet."
        assert "Set up NemoDiff" in window.buttons()


def line_of(text: str) -> str:
    return text.split("\n")[HOLE_LINE]


def test_the_package_is_small_and_whole(vsix: Path) -> None:
    assert vsix.stat().st_size <= 2 * 2**20
    with zipfile.ZipFile(vsix) as archive:
        names = {name for name in archive.namelist() if name.startswith("extension/")}
    scripts = {name for name in names if name.endswith(".js")}
    assert scripts == {"extension/dist/extension.js"}
    assert {"extension/media/icon.png", "extension/LICENSE.txt"} <= names


def test_ghost_text_appears_and_tab_takes_it(session: Session) -> None:
    path = session.copy("tab.py")
    session.window.type(START)
    assert session.wait_for_ghost() == FIRST
    session.window.press("Tab")
    session.window.wait_for(lambda: not session.window.ghost())
    assert line_of(session.saved(path)) == START + FIRST
    taken = [each["params"]["command"] for each in session.noted("workspace/executeCommand")]
    assert taken[-1] == "nemodiff.didAccept"


def test_typing_through_keeps_the_rest(session: Session) -> None:
    path = session.copy("through.py")
    session.window.type(START)
    session.wait_for_ghost()
    for typed in range(1, 7):
        session.window.type(FIRST[typed - 1])
        session.window.wait_for(lambda rest=FIRST[typed:]: session.window.ghost() == rest)
    session.window.press("Tab")
    assert line_of(session.saved(path)) == START + FIRST


def test_fast_typing_cancels_what_is_overtaken(session: Session) -> None:
    session.copy("fast.py")
    num_asked = len(session.asked())
    num_cancelled = len(session.noted("$/cancelRequest"))
    session.window.type(START, delay_ms=70)
    assert session.wait_for_ghost() == FIRST
    session.window.wait_for(session.is_settled)
    asked = session.asked()[num_asked:]
    cancelled = session.noted("$/cancelRequest")[num_cancelled:]
    assert len(asked) >= 3 and cancelled
    # Cancelled or overtaken, each has its answer; the newest is the one that is shown.
    answers = session.answers()
    assert {each["params"]["id"] for each in cancelled} <= {each["id"] for each in asked}
    newest = max(asked, key=lambda each: int(each["id"]))
    assert answers[newest["id"]]["result"]["items"][0]["insertText"] == FIRST


def test_alternatives_are_gone_through(session: Session) -> None:
    path = session.copy("alternatives.py")
    session.window.type(START)
    session.wait_for_ghost()
    session.window.press("Alt+\\")
    session.window.wait_for(
        lambda: (
            session.asked()[-1]["params"]["context"]["triggerKind"] == INVOKED
            and session.is_settled()
        )
    )
    seen = [session.wait_for_ghost()]
    for _ in range(2):
        session.window.press("Alt+]")
        session.window.wait_for(lambda: session.window.ghost() not in ("", *seen))
        seen.append(session.window.ghost())
    assert set(seen) == ALTERNATIVES
    session.window.press("Alt+[")
    session.window.wait_for(lambda: session.window.ghost() == seen[1])
    session.window.press("Tab")
    assert line_of(session.saved(path)) == START + seen[1]


def test_a_word_is_taken(session: Session) -> None:
    path = session.copy("word.py")
    session.window.type(START)
    session.wait_for_ghost()
    session.window.press("Alt+ArrowRight")
    session.window.wait_for(lambda: len(session.window.ghost()) < len(FIRST))
    rest = session.wait_for_ghost()
    assert FIRST.endswith(rest)
    session.window.press("Escape")
    taken = line_of(session.saved(path))
    assert taken == START + FIRST.removesuffix(rest) != START


def test_a_line_is_taken(session: Session) -> None:
    path = session.copy("line.py")
    session.window.type(START)
    session.wait_for_ghost()
    session.window.press("Alt+End")
    session.window.wait_for(lambda: not session.window.ghost())
    assert line_of(session.saved(path)) == START + FIRST


def test_the_status_item_tells_and_its_menu_switches(session: Session) -> None:
    assert "scripted" in session.window.status()["label"]
    session.copy("status.py")
    session.window.ask("clickStatus")
    shown = "Switch on or off for python"
    session.window.wait_for(lambda: any(shown in each for each in session.window.choices()))
    session.choose("Switch off")
    session.window.wait_for(lambda: "switched off" in session.window.status()["label"])
    session.to_hole()
    num_asked = len(session.asked())
    session.window.type(START)
    session.window.wait_for(lambda: len(session.asked()) > num_asked and session.is_settled())
    assert session.window.ghost() == ""

    session.window.ask("clickStatus")
    session.choose("Switch on")
    session.wait_for_ready()
    session.to_hole()
    session.window.press("Backspace")
    session.window.type(" ")
    assert session.wait_for_ghost() == FIRST


def test_a_file_with_secrets_stays_silent(session: Session) -> None:
    session.edit(".env")
    session.window.press("Control+End")
    num_asked = len(session.asked())
    session.window.type("URL = f'http://")
    session.window.wait_for(lambda: len(session.asked()) > num_asked and session.is_settled())
    assert session.window.ghost() == ""
    answers = session.answers()
    for asked in session.asked()[num_asked:]:
        assert not (answers[asked["id"]].get("result") or {}).get("items")
    session.window.wait_for(lambda: "secret" in session.window.status()["label"])
    # The same keys in a file without secrets do get an answer.
    session.copy("plain.py")
    session.window.type("        URL = f'http://")
    assert session.wait_for_ghost() == "{HOST}:{PORT}/'"


def test_an_untitled_document_is_completed(session: Session) -> None:
    session.copy("untitled.py")
    session.command("File: New Untitled Text File")
    session.window.wait_for(
        lambda: any(
            each["params"]["textDocument"]["uri"].startswith("untitled:")
            for each in session.noted("textDocument/didOpen")
        )
    )
    session.window.wait_for(lambda: "Untitled" in session.window.ask("tab"))
    session.type_first("self.counts[article] ")
    assert session.wait_for_ghost() == FIRST


def test_vscode_tells_how_long_activation_takes(
    session: Session, record_property: Callable[[str, object], None]
) -> None:
    """As VS Code itself measures it: loading the bundle included, the server's start not. Times
    are no matter of tests; `pytest -k activation -s` shows it."""
    session.command("Developer: Show Running Extensions")
    # The slowest come first, and only rows on the screen are there.
    session.window.ask("resize", height=3000)
    try:
        (row,) = session.window.wait_for(
            lambda: [row for row in session.window.ask("extensions") if "NemoDiff" in row]
        )
    finally:
        session.window.ask("resize")
    found = re.search(r"Activation: (\d+)\s*ms", row)
    assert found is not None, row
    record_property("activation_ms", int(found[1]))
    print(f"activation: {found[1]} ms")


def test_a_killed_engine_comes_back(session: Session) -> None:
    path = session.copy("killed.py")
    session.window.type(START)
    assert session.wait_for_ghost() == FIRST
    session.window.press("Escape")
    pid = session.kill_engine()
    session.window.press("End", "Enter")
    session.window.type("self.counts[article] -")
    session.wait_for_ready()

    def retyped() -> str:
        session.window.press("Backspace")
        session.window.type("-")
        session.window.wait_for(session.is_settled)
        return session.window.ghost()

    assert session.window.wait_for(retyped) == "= quantity"
    assert session.engine_pid() != pid
    session.window.press("Tab")
    assert (
        session.saved(path).split("\n")[HOLE_LINE + 1].strip() == "self.counts[article] -= quantity"
    )
