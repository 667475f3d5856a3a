"""editors/install.py for Neovim, Emacs and Helix: what it writes, leaves alone and takes back."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from install_fixtures import ROOT, Run, bin_folder, home, make_program, run, server, tree

__all__ = ["bin_folder", "home", "run", "server"]

TERMINAL_EDITORS = ("neovim", "emacs", "helix")
PACKAGE = ".local/share/nvim/site/pack/nemodiff/start"
INIT = {
    "neovim": f"{PACKAGE}/nemodiff-setup/plugin/nemodiff_setup.lua",
    "emacs": ".emacs.d/init.el",
    "helix": ".config/helix/languages.toml",
}


@pytest.mark.parametrize("editor", TERMINAL_EDITORS)
def test_a_fresh_home(editor: str, home: Path, run: Run, server: Path) -> None:
    said = run(editor).stdout
    text = (home / INIT[editor]).read_text(encoding="utf-8")
    assert str(server).replace('"', r"\"") in text
    assert str(home / INIT[editor]) in said
    next_line, what_to_do = said.strip().split("\n")[-2:]
    assert next_line.startswith("Next: ") and "docs/examples/inventory.py" in next_line
    assert "self.counts[article] " in what_to_do


@pytest.mark.parametrize("editor", TERMINAL_EDITORS)
def test_the_second_time_changes_nothing(editor: str, home: Path, run: Run) -> None:
    run(editor)
    before = tree(home)
    said = run(editor).stdout
    assert tree(home) == before
    assert "as it should be" in said and "writes" not in said


@pytest.mark.parametrize("editor", TERMINAL_EDITORS)
def test_remove_leaves_nothing(editor: str, home: Path, run: Run) -> None:
    run(editor)
    run(editor, "--remove")
    assert tree(home) == {}
    assert "nothing of NemoDiff's" in run(editor, "--remove").stdout


@pytest.mark.parametrize("editor", ["emacs", "helix"])
@pytest.mark.parametrize("own", [b"", b"\n", b"{c} mine", b"{c} mine\n", b"{c} mine\r\n\r\n"])
def test_remove_restores_every_byte(editor: str, own: bytes, home: Path, run: Run) -> None:
    path = home / INIT[editor]
    path.parent.mkdir(parents=True)
    path.write_bytes(own.replace(b"{c}", b"#" if editor == "helix" else b";;"))
    path.chmod(0o640)
    before = tree(home)
    run(editor)
    assert tree(home) != before
    assert path.read_bytes().startswith(before[INIT[editor]])
    run(editor, "--remove")
    assert tree(home) == before
    assert path.stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("editor", ["emacs", "helix"])
def test_what_the_user_writes_behind_it_stays(editor: str, home: Path, run: Run) -> None:
    path = home / INIT[editor]
    run(editor)
    comment = b"# later\n" if editor == "helix" else b";; later\n"
    path.write_bytes(path.read_bytes() + comment)
    run(editor, "--remove")
    assert path.read_bytes() == comment


@pytest.mark.parametrize("editor", TERMINAL_EDITORS)
def test_a_dry_run_writes_nothing(editor: str, home: Path, run: Run) -> None:
    said = run(editor, "--dry-run").stdout
    assert tree(home) == {}
    assert f"would write {home / INIT[editor]}" in said
    run(editor)
    before = tree(home)
    assert "would take" in run(editor, "--remove", "--dry-run").stdout
    assert tree(home) == before


@pytest.mark.parametrize("editor", TERMINAL_EDITORS)
def test_another_server_takes_the_place_of_the_first(
    editor: str, home: Path, run: Run, tmp_path: Path
) -> None:
    run(editor)
    other = make_program(tmp_path / "other", "exit 0")
    run(editor, "--server", str(other))
    text = (home / INIT[editor]).read_text(encoding="utf-8")
    assert text.count(">>> NemoDiff") == 1
    assert str(other) in text and "my " not in text


@pytest.mark.parametrize("editor", TERMINAL_EDITORS)
def test_what_was_changed_by_hand_stays(editor: str, home: Path, run: Run) -> None:
    run(editor)
    path = home / INIT[editor]
    path.write_text(path.read_text(encoding="utf-8").replace("lsp", "LSP"), encoding="utf-8")
    changed = path.read_bytes()
    assert "changed by hand" in run(editor).stdout
    assert "changed by hand" in run(editor, "--remove", code=1).stdout
    assert path.read_bytes() == changed


@pytest.mark.parametrize("editor", TERMINAL_EDITORS)
def test_a_place_that_cannot_be_written(editor: str, home: Path, run: Run) -> None:
    blocked = home / Path(INIT[editor]).parts[0]
    blocked.write_text("not a folder", encoding="utf-8")
    error = run(editor, code=1).stderr
    assert error.count("\n") == 1 and str(blocked) in error and "run this again" in error
    assert blocked.read_text(encoding="utf-8") == "not a folder"


def test_no_change_stays_where_a_later_one_fails(home: Path, run: Run) -> None:
    folder = home / PACKAGE / "nemodiff-setup"
    folder.parent.mkdir(parents=True)
    folder.write_text("in the way", encoding="utf-8")
    before = tree(home)
    run("neovim", code=1)
    assert tree(home) == before


def test_neovim_leads_to_the_plugin_of_the_clone(home: Path, run: Run) -> None:
    run("neovim", NVIM_APPNAME="other", XDG_DATA_HOME=str(home / "data"))
    link = home / "data/other/site/pack/nemodiff/start/nemodiff"
    assert link.resolve() == ROOT / "editors" / "neovim"


def test_a_package_of_the_users_own_stays(home: Path, run: Run) -> None:
    own = home / PACKAGE / "nemodiff" / "plugin" / "mine.lua"
    own.parent.mkdir(parents=True)
    own.write_text("-- mine", encoding="utf-8")
    assert "not of NemoDiff's making" in run("neovim").stdout
    run("neovim", "--remove")
    assert tree(home)[f"{PACKAGE}/nemodiff/plugin/mine.lua"] == b"-- mine"


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ("require('nemodiff').setup()", "already sets NemoDiff up"),
        ("vim.lsp.enable('nemodiff')", "already sets NemoDiff up"),
        ("require('lazy').setup({})", "lazy.nvim loads only"),
    ],
)
def test_neovims_own_configuration_is_respected(
    config: str, expected: str, home: Path, run: Run
) -> None:
    path = home / ".config/nvim/lua/own/plugins.lua"
    path.parent.mkdir(parents=True)
    path.write_text(config, encoding="utf-8")
    before = tree(home)
    assert expected in run("neovim").stdout
    assert tree(home) == before


def test_an_old_neovim_does_not_count(bin_folder: Path, run: Run) -> None:
    make_program(bin_folder / "nvim", "echo 'NVIM v0.9.5'")
    assert "No Neovim that is new enough" in run("neovim", "--dry-run").stdout


def test_emacs_with_its_own_lsp_mode(home: Path, run: Run) -> None:
    """Where the user starts lsp-mode, that is not done a second time."""
    (home / ".emacs").write_text("(use-package lsp-mode)\n", encoding="utf-8")
    assert "where you start lsp-mode" in run("emacs").stdout
    text = (home / ".emacs").read_text(encoding="utf-8")
    assert "(require 'nemodiff)" in text and "lsp-deferred" not in text
    assert not (home / ".emacs.d").exists()
    (home / ".emacs").write_text("(require 'nemodiff)\n", encoding="utf-8")
    assert "already sets NemoDiff up" in run("emacs").stdout


def test_emacs_without_lsp_mode(bin_folder: Path, run: Run) -> None:
    make_program(bin_folder / "emacs", "exit 3")
    assert "M-x package-install RET lsp-mode" in run("emacs").stdout


def test_helix_keeps_its_own_servers(home: Path, run: Run) -> None:
    run("helix")
    config = tomllib.loads((home / INIT["helix"]).read_text(encoding="utf-8"))
    servers = {each["name"]: each["language-servers"] for each in config["language"]}
    assert servers["python"] == ["nemodiff", "python-server"]
    assert servers["rust"] == ["nemodiff", "rust-server"]


def test_helix_with_entries_of_the_users(home: Path, run: Run) -> None:
    path = home / INIT["helix"]
    path.parent.mkdir(parents=True)
    path.write_text('[[language]]\nname = "python"\nauto-format = true\n', encoding="utf-8")
    assert 'for python: add "nemodiff" to their language-servers' in run("helix").stdout
    config = tomllib.loads(path.read_text(encoding="utf-8"))
    names = [each["name"] for each in config["language"]]
    assert names.count("python") == 1 and "rust" in names


@pytest.mark.parametrize(
    ("own", "expected"),
    [
        ("[language-server.nemodiff]\n", "already sets NemoDiff up"),
        ("language = []\n", "Put this into"),
        ("[[language\n", "mend it, then run this again"),
    ],
)
def test_helix_where_nothing_can_be_added(own: str, expected: str, home: Path, run: Run) -> None:
    path = home / INIT["helix"]
    path.parent.mkdir(parents=True)
    path.write_text(own, encoding="utf-8")
    assert expected in run("helix").stdout
    assert path.read_text(encoding="utf-8") == own


def test_a_server_that_is_missing(run: Run, tmp_path: Path) -> None:
    error = run("neovim", "--server", str(tmp_path / "none"), code=1).stderr
    assert error.count("\n") == 1 and "make setup" in error
