"""Puts Emacs with lsp-mode, and Helix, into this Python's environment, as get_neovim.py does.

Run by `make rigs` as ``python tests/rigs/get_emacs.py``; the tests in tests/editors find what it
leaves there. lsp-mode 10 is the first that knows inline completion.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from get_neovim import SUITES, RigError, fetch, stand_alone


def emacs_folder() -> Path:
    return Path(sys.prefix) / "rigs" / "emacs"


def helix_folder() -> Path:
    return Path(sys.prefix) / "rigs" / "helix"


def emacs_command(folder: Path) -> tuple[list[str], dict[str, str]] | None:
    """The command that starts the Emacs in `folder`, and its environment; None without one."""
    usr = folder / "usr"
    program, dumps = usr / "bin" / "emacs-nox", sorted(usr.glob("libexec/**/*.pdmp"))
    versions = sorted(path for path in usr.glob("share/emacs/*") if path.name[:1].isdigit())
    if not (program.exists() and dumps and versions):
        return None
    lisp = versions[-1] / "lisp"
    # Obsolete packages must not be found before those that took their place.
    folders = sorted(lisp.rglob("*/"), key=lambda path: path.name in ("obsolete", "term"))
    environment = {
        "EMACSLOADPATH": os.pathsep.join(str(path) for path in [lisp, *folders]),
        "EMACSDATA": str(versions[-1] / "etc"),
        "EMACSPATH": str(dumps[-1].parent),
    }
    return [str(program), "--dump-file", str(dumps[-1])], environment


def lisp_packages(folder: Path) -> list[Path]:
    """Folders of lsp-mode and of what it needs."""
    found = (folder / "usr" / "share" / "emacs" / "site-lisp" / "elpa-src").glob("[a-z]*")
    return sorted(path for path in found if path.is_dir())


def helix_program(folder: Path) -> Path | None:
    program = folder / "usr" / "lib" / "hx" / "hx"
    return program if program.exists() else None


def install(folder: Path, packages: Sequence[str], program: str) -> None:
    """Unpack `packages` into `folder`, unless `program` is there. Raises RigError."""
    if (folder / program).exists():
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".rig-", dir=folder.parent) as name:
        made = Path(name) / "made"
        fetch(made, SUITES, packages)
        shutil.rmtree(folder, ignore_errors=True)
        made.rename(folder)
    try:
        stand_alone(folder, folder / program)
    except RigError:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def main() -> int:
    rigs = (
        (emacs_folder(), ("emacs-nox", "elpa-lsp-mode"), "usr/bin/emacs-nox"),
        (helix_folder(), ("hx",), "usr/lib/hx/hx"),
    )
    exit_code = 0
    for folder, packages, program in rigs:
        try:
            install(folder, packages, program)
            print(f"{packages[0]} in {folder}")
        except RigError as error:
            print(f"Tests with {packages[0]} are skipped: {error}", file=sys.stderr)
            exit_code = 1
    return exit_code


if __name__ == "__main__":
    sys.exit(main())
