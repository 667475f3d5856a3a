"""Windows of all kinds in a real VS Code workbench, and what becomes of the server in them.

The folder of the first window is not trusted, as any that comes from elsewhere. The model is
scripted, all else is real. Skipped where the workbench is missing: `make rigs` installs it.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent / "vscode"))

from session import HOLE_LINE, SERVE_SCRIPTED, Session, open_session
from vscode import find_vscode, package_extension

from tests.rigs.stock import SOURCE

VSCODE = find_vscode()

pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group("vscode"),
    pytest.mark.skipif(VSCODE is None, reason="VS Code's workbench is not here: run `make rigs`"),
]

START = "        self.counts[article] "
FIRST = "= self.counts[article] - quantity"
COPIES = ["strange.py", "trusted.py"]
DEADLINE_MS = 60_000
CELLS = ".notebook-editor .monaco-editor .view-lines"
MAX_RESTARTS = 4


def _notebook(*cells: str) -> str:
    made = [
        {
            "cell_type": "code",
            "source": text,
            "metadata": {},
            "outputs": [],
            "execution_count": None,
        }
        for text in cells
    ]
    metadata = {"language_info": {"name": "python"}}
    return json.dumps({"cells": made, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5})


def _files(stolen: Path) -> dict[str, str]:
    """stolen: what a server that the strange folder names would make."""
    theirs = {"nemodiff.server.command": ["touch", str(stolen)]}
    folders = {"folders": [{"path": "left"}, {"path": "right"}]}
    return {
        "project/.vscode/settings.json": json.dumps(theirs),
        "project/.nemodiff.toml": 'disabledLanguages = ["python"]\n',
        "book/book.ipynb": _notebook("def weigh():\n    return 7\n", "# Below"),
        "two.code-workspace": json.dumps(folders),
        "left/left.py": SOURCE,
        "right/right.py": SOURCE,
        "right/.nemodiffignore": "*.py\n",
        "life/stock.py": SOURCE,
        "life/slow.py": SOURCE,
    }


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    assert VSCODE is not None
    home = tmp_path_factory.mktemp("vscode")
    vsix = package_extension(VSCODE, tmp_path_factory.mktemp("extension"))
    with open_session(
        VSCODE, vsix, home, COPIES, DEADLINE_MS, str(SERVE_SCRIPTED),
        files=_files(home / "stolen"), asks_for_trust=True,
    ) as opened:  # fmt: skip
        yield opened


@pytest.fixture(scope="module")
def life(session: Session) -> Session:
    """A window of its own for what happens to the server."""
    folder = session.folder.parent / "life"
    session.window.open(folder, folder / "stock.py")
    session.wait_for_ready()
    return session


def is_trusted(session: Session) -> bool:
    return bool(session.noted("initialize")[0]["params"]["initializationOptions"]["isTrusted"])


def test_a_folder_that_is_not_trusted_sets_nothing_and_is_completed(session: Session) -> None:
    assert not is_trusted(session)
    session.copy("strange.py")
    session.type_first(START)
    assert session.wait_for_ghost() == FIRST
    assert not (session.folder.parent / "stolen").exists()


def test_trust_takes_effect_without_reload(session: Session) -> None:
    num_servers = session.num_servers()
    session.trust_folder()
    session.window.wait_for(lambda: session.num_servers() > num_servers and is_trusted(session))
    session.wait_for_ready()
    session.copy("trusted.py")
    session.type_first(START)
    session.window.wait_for(session.is_settled)
    # The folder's own settings count now, but for those that no folder may set.
    assert session.window.ghost() == ""
    session.command("NemoDiff: Why was nothing shown?")
    assert "python" in session.wait_for_message("NemoDiff: ")
    assert session.num_servers() == num_servers + 1
    assert not (session.folder.parent / "stolen").exists()


def test_a_cell_is_completed_from_the_one_above(session: Session) -> None:
    book = session.folder.parent / "book"
    session.window.open(book, book / "book.ipynb", shown=CELLS)
    session.wait_for_ready()
    session.window.wait_for(lambda: session.noted("notebookDocument/didOpen"))
    session.window.click(f"{CELLS} >> nth=1")
    session.window.press("Control+End", "Enter")
    session.type_first("print(")
    assert session.wait_for_ghost() == "weigh())"
    session.window.press("Tab")
    session.window.wait_for(lambda: "print(weigh())" in "".join(session.window.texts(CELLS)))


def _has_both_folders(session: Session) -> bool:
    """Whether the window of the workspace file has its folders: a workbench in a browser that is
    slow to reach its server may open without any ("No Folder Opened"), until it is opened anew."""
    home = session.folder.parent
    session.window.open(home / "two.code-workspace", home / "left" / "left.py")
    session.wait_for_ready()
    return session.window.is_soon(lambda: _folders(session) == ["left", "right"], within_s=15.0)


def _folders(session: Session) -> list[str]:
    """Of the window, as the server knows them: it may be started before the window has read its
    workspace file."""
    names = [each["name"] for each in _initial(session)["workspaceFolders"] or ()]
    for message in session.noted("workspace/didChangeWorkspaceFolders"):
        event = message["params"]["event"]
        gone = {each["name"] for each in event["removed"]}
        names = [name for name in names if name not in gone]
        names += [each["name"] for each in event["added"]]
    return names


def _initial(session: Session) -> dict[str, Any]:
    params: dict[str, Any] = session.noted("initialize")[0]["params"]
    return params


def test_each_folder_of_a_window_has_its_own_rules(session: Session) -> None:
    session.window.wait_for(lambda: _has_both_folders(session))
    session.to_hole()
    session.type_first(START)
    assert session.wait_for_ghost() == FIRST
    session.copy("right.py")
    num_asked = len(session.asked())
    session.window.type(START)
    session.window.wait_for(lambda: len(session.asked()) > num_asked and session.is_settled())
    assert session.window.ghost() == ""
    session.window.wait_for(lambda: ".nemodiffignore" in session.window.status()["label"])


def test_a_killed_server_comes_back(life: Session) -> None:
    num_servers = life.num_servers()
    (pid,) = life.server_pids()
    os.kill(pid, signal.SIGKILL)
    life.window.wait_for(lambda: life.num_servers() == num_servers + 1)
    life.wait_for_ready()
    life.to_hole()
    life.type_first(START)
    assert life.wait_for_ghost() == FIRST
    assert life.window.messages() == []


def test_a_server_that_keeps_ending_is_left_alone(life: Session) -> None:
    """The one before was the first of its restarts."""
    for _ in range(MAX_RESTARTS):
        num_servers = life.num_servers()
        (pid,) = life.window.wait_for(life.server_pids)
        life.wait_for_ready()
        os.kill(pid, signal.SIGKILL)
        life.window.wait_for(
            lambda num=num_servers: life.num_servers() > num or life.window.messages()
        )
    sentence = "The language server keeps ending and is not started any more."
    assert life.window.wait_for(life.window.messages) == [f"NemoDiff: {sentence}"]
    assert sentence in life.window.status()["label"]
    assert life.server_pids() == []
    life.window.click_button("Restart")
    life.wait_for_ready()
    assert len(life.server_pids()) == 1


def test_settings_may_change_while_a_request_runs(life: Session) -> None:
    life.edit("slow.py")
    path = life.folder.parent / "life" / "slow.py"
    life.to_hole()
    life.type_first("        slowly ")
    num_servers = life.num_servers()
    num_told = len(life.noted("workspace/didChangeConfiguration"))
    life.open_settings()
    life.change_settings(maxTokens=32)
    life.window.wait_for(lambda: len(life.noted("workspace/didChangeConfiguration")) > num_told)
    life.window.wait_for(life.is_settled)
    assert life.num_servers() == num_servers
    life.edit("slow.py")
    life.to_hole()
    life.window.press("Enter")
    life.type_first(START.strip() + " ")
    assert life.wait_for_ghost() == FIRST
    life.window.press("Tab")
    assert life.saved(path).split("\n")[HOLE_LINE + 1].strip() == START.strip() + " " + FIRST


@pytest.mark.parametrize(
    ("command", "sentence"),
    [
        (["/nowhere/nemodiff", "lsp"], '"/nowhere/nemodiff", named by nemodiff.server.command'),
        (["/bin/false"], '"/bin/false", named by nemodiff.server.command'),
        ("nemodiff lsp", "The setting nemodiff.server.command must be a list of words"),
    ],
)
def test_a_command_that_is_none_is_told_once(life: Session, command: object, sentence: str) -> None:
    life.open_settings()
    life.change_settings(server_command=command)
    (told,) = life.window.wait_for(life.window.messages)
    assert told.startswith(f"NemoDiff: {sentence}")
    assert "Open the setting" in life.window.buttons()
    assert sentence in life.window.status()["label"]
    life.change_settings()
    life.wait_for_ready()
    life.wait_for_message("NemoDiff: ")


def test_a_window_is_closed_while_the_engine_loads(life: Session) -> None:
    folder = life.folder.parent / "life"
    life.window.leave()
    life.window.wait_for(lambda: not life.server_pids())
    life.kill_engine()
    life.hold.touch()
    life.window.open(folder, folder / "stock.py")
    life.window.wait_for(lambda: "%" in life.window.status().get("text", ""))
    life.window.leave()
    life.window.wait_for(lambda: not life.server_pids())
    life.hold.unlink()
    life.window.open(folder, folder / "slow.py")
    life.wait_for_ready()
    assert len(life.server_pids()) == 1
