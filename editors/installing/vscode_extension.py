"""VS Code: the extension is built from this clone and installed by VS Code's own command.

Where there is no VS Code, its server and workbench are put into this Python's environment; they
are used in a browser (vscode_in_browser.py).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from installing.user_files import InstallError, Link

ROOT = Path(__file__).resolve().parents[2]
EXTENSION = ROOT / "editors" / "vscode"
EXTENSION_ID = "nemodiff.nemodiff"
sys.path.insert(0, str(ROOT / "tests" / "rigs"))

import get_vscode  # noqa: E402
import vscode  # noqa: E402
from get_neovim import RigError  # noqa: E402

_PROGRAMS = ("code", "code-insiders", "codium")
_OLDEST_NODE = 20


def program() -> str | None:
    """VS Code's command, if it is on PATH."""
    return next((found for name in _PROGRAMS if (found := shutil.which(name))), None)


def link(server: Path) -> Link:
    """The place where the extension looks for the server."""
    return Link(Path.home() / ".local" / "bin" / "nemodiff", server)


def install(code: Sequence[str]) -> None:
    """Build the extension and let `code` install it. Raises InstallError."""
    with _built() as vsix:
        _run([*code, "--install-extension", str(vsix), "--force"])


def is_installed(code: Sequence[str]) -> bool:
    """Whether `code` is there and has the extension."""
    words = [*code, "--list-extensions"]
    try:
        run = subprocess.run(words, capture_output=True, text=True, check=False)
    except OSError:
        return False
    return EXTENSION_ID in run.stdout.split()


def uninstall(code: Sequence[str]) -> None:
    _run([*code, "--uninstall-extension", EXTENSION_ID])


def stand_in() -> list[str]:
    """The command of a VS Code of ours, which is fetched first. Raises InstallError."""
    folder = get_vscode.default_folder()
    try:
        get_vscode.install(folder)
    except RigError as error:
        # The browser is the last part, and one is needed for tests only.
        if not (get_vscode.code_in(folder).exists() and get_vscode.packager_in(folder).exists()):
            raise InstallError(
                f"There is no VS Code here, and none can be fetched: {error} Install it with its "
                "command `code`, then run this again."
            ) from None
    return stand_in_command()


def stand_in_data() -> Path:
    """Its own folder of extensions and settings."""
    return get_vscode.default_folder() / "data"


def stand_in_command() -> list[str]:
    folder = get_vscode.default_folder()
    options = ["--server-data-dir", str(stand_in_data()), "--accept-server-license-terms"]
    return [str(get_vscode.node_in(folder)), str(get_vscode.code_in(folder)), *options]


@contextmanager
def _built() -> Iterator[Path]:
    """The .vsix of this clone, built in a folder of its own."""
    with tempfile.TemporaryDirectory(prefix="nemodiff-") as name:
        work = Path(name) / "extension"
        if _has_node():
            shutil.copytree(EXTENSION, work, ignore=shutil.ignore_patterns("node_modules", "out"))
            _run(["npm", "ci", "--no-audit", "--no-fund", "--loglevel=error"], work)
            _run(["npm", "run", "--silent", "package"], work)
            yield work / "nemodiff.vsix"
            return
        work.mkdir()
        rig = get_vscode.default_folder()
        if not get_vscode.packager_in(rig).exists():
            raise InstallError(
                f"Node {_OLDEST_NODE} or newer builds the extension and is missing: install it, or "
                "run `make rigs`, then run this again."
            )
        yield vscode.package_extension(rig, work)


def _has_node() -> bool:
    if shutil.which("npm") is None or shutil.which("node") is None:
        return False
    run = subprocess.run(["node", "--version"], capture_output=True, text=True, check=False)
    major = run.stdout.strip().lstrip("v").partition(".")[0]
    return major.isdigit() and int(major) >= _OLDEST_NODE


def _run(words: Sequence[str], folder: Path | None = None) -> None:
    """Raises InstallError with the last line of what a failing program says."""
    run = subprocess.run(
        words, cwd=folder, capture_output=True, text=True, check=False, env={**os.environ}
    )
    if run.returncode:
        said = (run.stderr or run.stdout).strip().splitlines() or ["no reason given"]
        what = " ".join([Path(words[0]).name, *words[1:3]])
        raise InstallError(f"`{what}` failed: {said[-1]}")
