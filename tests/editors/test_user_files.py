"""What editors/install.py is made of: links, blocks in the user's files, fetched editors."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "editors"))

from get_neovim import RigError
from installing import stand_ins
from installing.user_files import Block, InstallError, Link, State


def test_a_copy_where_links_cannot_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError("links are not allowed")

    monkeypatch.setattr(Path, "symlink_to", refuse)
    target = tmp_path / "target"
    target.mkdir()
    (target / "init.lua").write_text("-- 1", encoding="utf-8")
    link = Link(tmp_path / "made" / "link", target)
    link.put()
    assert (link.path / "init.lua").read_text(encoding="utf-8") == "-- 1"
    (target / "init.lua").write_text("-- 2", encoding="utf-8")
    assert link.state() is State.OLD, "a copy is made anew"
    link.put()
    assert (link.path / "init.lua").read_text(encoding="utf-8") == "-- 2"
    link.take_back()
    assert not link.path.parent.exists() and target.exists()


def test_a_link_to_a_clone_that_is_gone(tmp_path: Path) -> None:
    target, gone = tmp_path / "new" / "neovim", tmp_path / "gone" / "neovim"
    target.mkdir(parents=True)
    link = Link(tmp_path / "link", target)
    link.path.symlink_to(gone)
    assert link.state() is State.OLD
    link.put()
    assert link.state() is State.OURS


def test_a_file_that_is_a_link_stays_one(tmp_path: Path) -> None:
    """As the init files of people who keep them in a repository are."""
    real = tmp_path / "dotfiles" / "init.el"
    real.parent.mkdir()
    real.write_text(";; mine\n", encoding="utf-8")
    path = tmp_path / "init.el"
    path.symlink_to(real)
    block = Block(path, "(message)\n", ";;")
    block.put()
    assert path.is_symlink() and "(message)" in real.read_text(encoding="utf-8")
    block.take_back()
    assert path.is_symlink() and real.read_text(encoding="utf-8") == ";; mine\n"


def test_no_editor_can_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> str:
        raise RigError("apt-get is missing: editors are taken from Debian packages.")

    monkeypatch.setattr(stand_ins.get_neovim, "install", fail)
    monkeypatch.setattr(stand_ins, "_get_patchelf", lambda: None)
    with pytest.raises(InstallError, match=r"apt-get is missing.*Install it, then run this again"):
        stand_ins.stand_in("neovim")
