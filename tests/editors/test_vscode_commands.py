"""The extension's commands, walkthrough and keys in a real VS Code workbench.

The model is scripted, all else is real. Skipped where the workbench is missing: `make rigs`
installs it.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent / "vscode"))

from get_vscode import EXTENSION
from session import SERVE_SCRIPTED, Session, open_session
from vscode import find_vscode, package_extension

VSCODE = find_vscode()

pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group("vscode"),
    pytest.mark.skipif(VSCODE is None, reason="VS Code's workbench is not here: run `make rigs`"),
]

PACKAGE: dict[str, Any] = json.loads((EXTENSION / "package.json").read_text(encoding="utf-8"))
START = "        self.counts[article] "
FIRST = "= self.counts[article] - quantity"
COPIES = ["why.py", "mode.py", "off.py", "engine.py"]
DEADLINE_MS = 60_000
HOLES = """def double(number: int) -> int:
    ...


def halve(number: int) -> int:
    ...
"""
FILLED = HOLES.replace("...", "return number * 2", 1).replace("...", "return number // 2")
MISSPELT = "first = quanity\nsecond = quanity\n"
PREVIEW = ".bulk-edit-panel"
# Where ghost text is never: keys may mean something else there.
ELSEWHERE = re.compile(
    r"terminal|listFocus|inQuickInput|accessibleViewIsShown|inChat|ReplEditor|^false$", re.I
)
OVERRIDDEN = {
    ("alt+]", "editor.action.inlineSuggest.showNext"),
    ("alt+[", "editor.action.inlineSuggest.showPrevious"),
}
"""What VS Code itself does with our keys where they count: the same as we do."""


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    assert VSCODE is not None
    home = tmp_path_factory.mktemp("vscode")
    vsix = package_extension(VSCODE, tmp_path_factory.mktemp("extension"))
    files = {"project/holes.py": HOLES, "project/misspelt.py": MISSPELT}
    with open_session(
        VSCODE, vsix, home, COPIES, DEADLINE_MS, str(SERVE_SCRIPTED), files=files
    ) as opened:
        yield opened


def test_holes_are_filled(session: Session) -> None:
    path = session.edit("holes.py")
    session.command("NemoDiff: Fill holes")
    session.window.wait_for(lambda: not any("..." in each for each in session.window.ask("lines")))
    assert session.saved(path) == FILLED


def _repair(session: Session, line: int) -> None:
    """Have the line (from 0) repaired, up to the preview. A window that is still at work on the
    file may lose keys, so another line than this one may have been asked for."""

    def is_shown() -> bool:
        session.window.ask("focus")
        session.window.press("Control+Home", *["ArrowDown"] * line)
        session.command("NemoDiff: Repair selection")
        return session.window.is_soon(lambda: session.window.texts(PREVIEW), within_s=20.0)

    session.window.wait_for(is_shown)


def test_a_selection_is_repaired_when_that_is_confirmed(session: Session) -> None:
    path = session.edit("misspelt.py")
    _repair(session, 0)
    session.window.click(f"{PREVIEW} .edit-checkbox")
    assert session.window.ask("lines")[0] == "first = quanity"
    session.window.click(f'{PREVIEW} .monaco-button >> text="Apply"')
    session.window.wait_for(lambda: session.window.ask("lines")[0] == "first = quantity")
    session.window.ask("focus")
    # Only the line of the cursor.
    assert session.saved(path) == "first = quantity\nsecond = quanity\n"


def test_a_repair_may_be_declined(session: Session) -> None:
    session.edit("misspelt.py")
    _repair(session, 1)
    session.window.click(f'{PREVIEW} .monaco-button >> text="Discard"')
    assert "did not apply the edit" in session.wait_for_message("NemoDiff: ")
    assert session.window.ask("lines")[1] == "second = quanity"


def test_why_nothing_was_shown(session: Session) -> None:
    session.copy("why.py")
    session.type_first(typed := "        nobody knows this ")
    session.wait_for_answer_at(len(typed))
    session.command("NemoDiff: Why was nothing shown?")
    assert "nothing to add" in session.wait_for_message("NemoDiff: ")


def test_the_mode_is_chosen(session: Session) -> None:
    session.copy("mode.py")
    session.command("NemoDiff: Choose the mode")
    session.choose("linear_spec")
    assert session.wait_for_message("NemoDiff: ") == "NemoDiff: the mode is linear_spec now."
    sent = session.noted("workspace/executeCommand")[-1]["params"]
    assert sent == {"command": "nemodiff.setMode", "arguments": ["linear_spec"]}


def test_one_file_is_switched_off_and_on(session: Session) -> None:
    session.copy("off.py")
    session.command("NemoDiff: Switch on or off for this file")
    assert "switched off for this document" in session.wait_for_message("NemoDiff is")
    session.to_hole()
    session.type_first(START)
    session.wait_for_answer_at(len(START))
    assert session.window.ghost() == ""
    session.command("NemoDiff: Switch on or off for this file")
    assert "switched on for this document" in session.wait_for_message("NemoDiff is")
    session.window.press("Backspace")
    session.window.type(" ")
    assert session.wait_for_ghost() == FIRST


def test_the_engine_is_restarted(session: Session) -> None:
    pid = session.engine_pid()
    session.command("NemoDiff: Restart the engine")
    session.wait_for_message("NemoDiff: the engine is being restarted")
    session.wait_for_ready()
    assert session.engine_pid() != pid
    session.copy("engine.py")
    session.type_first(START)
    assert session.wait_for_ghost() == FIRST


def test_the_walkthrough_leads_to_ghost_text(session: Session) -> None:
    (walkthrough,) = PACKAGE["contributes"]["walkthroughs"]
    session.window.press("Escape", "F1")
    session.window.type("Welcome: Open Walkthrough")
    session.window.wait_for(lambda: "Open Walkthrough" in session.window.choices()[0])
    session.window.press("Enter")
    session.window.wait_for(
        lambda: any(walkthrough["title"] in each for each in session.window.choices())
    )
    session.window.type(walkthrough["title"])
    session.window.wait_for(lambda: walkthrough["title"] in session.window.choices()[0])
    session.window.press("Enter")
    steps = ".gettingStartedContainer .getting-started-step .step-title"
    titles = [each["title"] for each in walkthrough["steps"]]
    session.window.wait_for(lambda: session.window.texts(steps) == titles)
    _open_step(session, titles[-1])
    session.window.click('.gettingStartedContainer .monaco-button >> text="Show the menu"')
    session.window.wait_for(lambda: any("statistics" in each for each in session.window.choices()))
    session.window.press("Escape")
    _open_step(session, titles[0])
    session.window.click('.gettingStartedContainer .monaco-button >> text="Set up NemoDiff"')
    session.window.wait_for(lambda: session.window.texts(".monaco-dialog-box"))
    session.window.press("Escape")
    session.window.wait_for(lambda: not session.window.texts(".monaco-dialog-box"))


def _open_step(session: Session, title: str) -> None:
    """VS Code opens the next step by itself when one is done, and disables one that is open."""
    step = ".gettingStartedContainer .getting-started-step"

    def is_open() -> bool:
        if session.window.texts(f"{step}.expanded .step-title") == [title]:
            return True
        session.window.ask("clickNow", selector=f'{step} .step-title >> text="{title}"')
        return False

    session.window.wait_for(is_open)


def test_our_keys_take_nothing_from_vs_code(session: Session) -> None:
    session.command("Preferences: Open Default Keyboard Shortcuts (JSON)")
    session.window.wait_for(lambda: "Default Keybindings" in session.window.ask("tab"))

    def copied() -> str:
        # The text may still be on its way into the editor, or the focus somewhere else.
        session.window.ask("focus")
        session.window.press("Control+a", "Control+c")
        text: str = session.window.ask("clipboard")
        return text if '"nemodiff.trigger"' in text else ""

    bindings = _without_comments(session.window.wait_for(copied))
    ours = {each["key"] for each in PACKAGE["contributes"]["keybindings"]}
    starts = {each.split()[0] for each in ours}
    found = {
        (each["key"], each["command"])
        for each in bindings
        if each["key"].split()[0] in starts
        and not each["command"].startswith("nemodiff.")
        and not _is_elsewhere(each.get("when", ""))
    }
    assert found == OVERRIDDEN


def _without_comments(text: str) -> list[dict[str, Any]]:
    bare = re.sub(r"^\s*//.*$", "", text, flags=re.MULTILINE)
    found: list[dict[str, Any]] = json.JSONDecoder().raw_decode(bare[bare.index("[") :])[0]
    return found


def _is_elsewhere(when: str) -> bool:
    return all(ELSEWHERE.search(each.strip()) for each in when.split("||"))
