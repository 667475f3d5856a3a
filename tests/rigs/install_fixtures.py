"""Fixtures of the tests of editors/install.py: a new user's home folder, and programs in it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# As little of the real programs as install.py asks for.
PROGRAMS = {
    "nvim": "echo 'NVIM v0.12.1'",
    "emacs": "exit 0",
    "hx": "printf 'Configured language servers:\\n  ✓ %s-server: x\\n' $2;"
    "printf 'Configured debug adapter:\\n  ✘ debugger: x\\n'",
}

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "home"
    folder.mkdir()
    return folder


@pytest.fixture
def bin_folder(tmp_path: Path) -> Path:
    """The user's programs: the editors."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, script in PROGRAMS.items():
        make_program(folder / name, script)
    return folder


def make_program(path: Path, script: str) -> Path:
    path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    path.chmod(0o755)
    return path


@pytest.fixture
def server(tmp_path: Path) -> Path:
    """Its path has what needs quoting in Lua, Lisp and TOML."""
    return make_program(tmp_path / 'my "nemodiff"', "exit 0")


@pytest.fixture
def run(home: Path, bin_folder: Path, server: Path) -> Run:
    def start(*words: str, code: int = 0, **variables: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(ROOT / "editors" / "install.py"), "--server", str(server)]
        path = os.pathsep.join([str(bin_folder), os.defpath])
        environment = {"HOME": str(home), "PATH": path, "LANG": "C.UTF-8", **variables}
        done = subprocess.run(
            [*command, *words], env=environment, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == code, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return done

    return start


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below `folder`, by its path; of links where they lead."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_symlink():
            found[name] = os.fsencode(path.readlink())
        else:
            found[name] = path.read_bytes() if path.is_file() else b""
    return found
