"""The button "Set up NemoDiff": a private environment is really made, from a copy of this clone.

Downloads PyTorch's CPU build, so it takes a minute or more; NEMODIFF_SKIP_INSTALL_TEST leaves it
out. Skipped where the workbench is missing, or pip finds no packages.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent / "vscode"))

from session import HOLE_LINE, make_project
from vscode import Workbench, find_vscode, package_extension

from engine.config import DEFAULT_MODEL
from engine.weights.store import cache_folder

VSCODE = find_vscode()
ROOT = Path(__file__).resolve().parents[2]
CLONED = ("engine", "nemodiff_lsp", "pyproject.toml", "constraints.txt")
DEADLINE_MS = 120_000
PROGRESS = ".notifications-toasts .notification-list-item"


def _can_install() -> bool:
    if os.environ.get("NEMODIFF_SKIP_INSTALL_TEST"):
        return False
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", folder, "uv"]
        return subprocess.run(command, capture_output=True, timeout=300).returncode == 0


pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1200),
    pytest.mark.xdist_group("vscode"),
    pytest.mark.skipif(VSCODE is None, reason="VS Code's workbench is not here: run `make rigs`"),
]


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """pip builds in the folder that it is given, so it is not given this one."""
    if not _can_install():
        pytest.skip("NEMODIFF_SKIP_INSTALL_TEST is set, or pip finds no packages here")
    made = tmp_path_factory.mktemp("clone")
    for name in (*CLONED, *(path.name for path in ROOT.glob("[A-Z]*") if path.is_file())):
        source = ROOT / name
        if source.is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(source, made / name, ignore=ignored)
        else:
            shutil.copy(source, made / name)
    return made


@pytest.fixture(scope="module")
def window(
    clone: Path, default_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Workbench]:
    """On a machine that has Python, but no NemoDiff: not on PATH, not in the user's folders."""
    assert VSCODE is not None
    home = tmp_path_factory.mktemp("vscode")
    vsix = package_extension(VSCODE, tmp_path_factory.mktemp("extension"))
    make_project(home / "project")
    settings = {
        "nemodiff.server.package": str(clone),
        "nemodiff.deadlineMs": DEADLINE_MS,
        "nemodiff.invokedDeadlineMs": DEADLINE_MS,
    }
    with tempfile.TemporaryDirectory(prefix="nemodiff-") as runtime:
        bare = {
            "PATH": _path_without_nemodiff(home / "bin"),
            "HOME": str(home),
            "NEMODIFF_RUNTIME_DIR": runtime,
            "NEMODIFF_STATE_DIR": str(home / "state"),
            "NEMODIFF_CACHE": str(cache_folder()),
            "OMP_NUM_THREADS": "1",
        }
        with Workbench(VSCODE, home / "data", vsix, settings, bare) as opened:
            opened.open(home / "project", home / "project" / "stock.py")
            yield opened
        _stop_engine(home, bare)


def _path_without_nemodiff(bin_folder: Path) -> str:
    """A folder with a Python of the system's, and the system's own."""
    bin_folder.mkdir()
    base = Path(sys.base_prefix) / "bin" / f"python3.{sys.version_info.minor}"
    (bin_folder / base.name).symlink_to(base)
    return os.pathsep.join([str(bin_folder), "/usr/bin", "/bin"])


def _stop_engine(home: Path, environment: dict[str, str]) -> None:
    for python in home.glob("data/**/environments/*/bin/python"):
        command = [str(python), "-P", "-m", "engine", "engine", "stop"]
        subprocess.run(command, env={**os.environ, **environment}, timeout=60)


def _start_set_up(window: Workbench) -> None:
    window.click_button("Set up NemoDiff")
    window.click('.monaco-dialog-box .monaco-button >> text="Install"')
    window.wait_for(lambda: any("PyTorch" in each for each in window.texts(PROGRESS)))


def _environments(window: Workbench) -> list[Path]:
    home = window.machine_settings.parents[2]
    return [path for path in home.glob("data/**/environments/*") if path.is_dir()]


def test_a_stopped_installation_leaves_nothing(window: Workbench) -> None:
    window.wait_for(lambda: "not installed" in window.status().get("label", ""))
    _start_set_up(window)
    assert len(_environments(window)) == 1
    window.click_button("Cancel")
    stopped = "The installation was stopped; nothing was changed."
    window.wait_for(lambda: stopped in window.messages())
    assert _environments(window) == []
    assert "not installed" in window.status()["label"]


def test_the_button_leads_to_ghost_text(window: Workbench) -> None:
    window.press("F1")
    window.type("NemoDiff: Set up the language server")
    window.wait_for(lambda: "Set up" in window.choices()[0])
    window.press("Enter")
    window.click('.monaco-dialog-box .monaco-button >> text="Install"')
    window.wait_for(lambda: DEFAULT_MODEL in window.status().get("label", ""))
    (made,) = _environments(window)
    packages = {path.name for path in made.glob("lib/python*/site-packages/*")}
    assert "nemodiff_lsp" in packages
    if shutil.which("nvidia-smi") is None:
        assert not [name for name in packages if name.startswith(("nvidia", "triton", "cuda"))]
    window.ask("focus")
    window.press("Control+Home", *["ArrowDown"] * HOLE_LINE, "End")
    window.type("        self.counts[article] ")

    def retyped() -> str:
        if window.is_soon(window.ghost):
            return window.ghost()
        window.press("Backspace")
        window.type(" ")
        return ""

    assert "quantity" in window.wait_for(retyped)
