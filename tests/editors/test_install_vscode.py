"""editors/install.py for VS Code and JetBrains IDEs, whose own programs are stood in for."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

import pytest
from install_fixtures import ROOT, Run, bin_folder, home, make_program, run, server, tree

sys.path.insert(0, str(ROOT / "editors"))

from installing.jetbrains import SOURCE, Template
from installing.user_files import State

__all__ = ["bin_folder", "home", "run", "server"]


@pytest.fixture
def calls(bin_folder: Path, tmp_path: Path) -> Path:
    """What VS Code's command was called with, a line each; the extension is built by an npm."""
    noted = tmp_path / "calls"
    noted.touch()
    make_program(
        bin_folder / "code",
        f'test "$1" = --list-extensions && grep -q install "{noted}" && echo nemodiff.nemodiff;'
        f'test "$1" != --install-extension || test -s "$2" || exit 1; echo "$@" >> "{noted}"',
    )
    make_program(bin_folder / "node", "echo v22.1.0")
    make_program(bin_folder / "npm", "test $1 != run || echo built > nemodiff.vsix")
    return noted


def test_the_extension_is_built_and_installed(
    calls: Path, home: Path, run: Run, server: Path
) -> None:
    said = run("vscode").stdout
    (call,) = calls.read_text(encoding="utf-8").splitlines()
    assert call.startswith("--install-extension ") and "nemodiff.vsix" in call
    assert (home / ".local/bin/nemodiff").resolve() == server
    assert "\nNext: code docs/examples/inventory.py\n" in said
    run("vscode", "--remove")
    assert "--uninstall-extension nemodiff.nemodiff" in calls.read_text(encoding="utf-8")
    assert tree(home) == {}
    calls.write_text("", encoding="utf-8")
    assert "VS Code: nothing of NemoDiff's" in run("vscode", "--remove").stdout


def test_a_program_of_the_users_own_stays(calls: Path, home: Path, run: Run, server: Path) -> None:
    own = home / ".local" / "bin" / "nemodiff"
    own.parent.mkdir(parents=True)
    own.write_text("mine", encoding="utf-8")
    said = run("vscode").stdout
    assert "is not of NemoDiff's making" in said
    assert "nemodiff.server.command" in said and str(server) in said
    run("vscode", "--remove")
    assert own.read_text(encoding="utf-8") == "mine"


def test_a_build_that_fails_is_told_in_one_sentence(
    calls: Path, bin_folder: Path, run: Run
) -> None:
    make_program(bin_folder / "npm", "echo 'the registry is away' >&2; exit 1")
    error = run("vscode", code=1).stderr
    assert error.count("\n") == 1 and "npm ci" in error and "the registry is away" in error
    assert calls.read_text(encoding="utf-8") == ""


def test_vscode_without_its_command_says_so(run: Run, home: Path) -> None:
    if shutil.which("code", path=os.defpath):
        pytest.skip("VS Code is installed here")
    said = run("vscode", "--dry-run").stdout
    assert "No VS Code" in said and "would write" in said and "would build" in said
    assert tree(home) == {}


def test_jetbrains_template_names_the_server(run: Run, server: Path) -> None:
    said = run("jetbrains", "--dry-run").stdout
    assert f'"{server}" lsp' in said and "Import from custom template" in said


def test_jetbrains_template_is_made_once_and_taken_back(
    server: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "environment"))
    template = Template(server)
    assert template.state() is State.ABSENT
    template.put()
    assert template.state() is State.OURS
    made = json.loads((template.path / "template.json").read_text(encoding="utf-8"))
    assert made["programArgs"]["default"] == f'"{server}" lsp'
    assert {path.name for path in template.path.iterdir()} == {
        path.name for path in SOURCE.iterdir()
    }
    assert Template(tmp_path / "other").state() is State.OLD
    template.take_back()
    assert not template.path.exists()
