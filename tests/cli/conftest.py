"""Fixtures of the command line's tests: the fake engine and a way to run `nemodiff`."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

# The fake engine is the language server tests' own.
sys.path.insert(0, str(Path(__file__).parents[1] / "lsp"))

from fake_engine import FakeEngine

Run = Callable[..., "subprocess.CompletedProcess[bytes]"]


@pytest.fixture
def runtime_folder() -> Iterator[Path]:
    # Not tmp_path, whose names grow beyond what a socket address holds.
    with tempfile.TemporaryDirectory(prefix="nemodiff-") as folder:
        yield Path(folder)


@pytest.fixture
def engine(runtime_folder: Path) -> Iterator[FakeEngine]:
    """A fake engine at the place where a user's own engine listens."""
    with FakeEngine(runtime_folder / "engine.sock") as running:
        yield running


@pytest.fixture
def nemodiff(runtime_folder: Path, tmp_path: Path) -> Run:
    """Runs the command in `tmp_path` with bytes in and out; nothing of the user's own is seen."""

    def run(
        *arguments: str, stdin: bytes = b"", timeout_s: float = 120, **variables: str
    ) -> object:
        environment = {
            **os.environ,
            "NEMODIFF_RUNTIME_DIR": str(runtime_folder),
            "NEMODIFF_CACHE": str(tmp_path / "cache"),
            "OMP_NUM_THREADS": "1",
            **variables,
        }
        environment.pop("FORCE_COLOR", None)
        return subprocess.run(
            [sys.executable, "-m", "engine", *arguments],
            input=stdin,
            capture_output=True,
            cwd=tmp_path,
            env=_with_repository(environment),
            timeout=timeout_s,
        )

    return run  # type: ignore[return-value]


def _with_repository(environment: dict[str, str]) -> dict[str, str]:
    """The command runs in another folder, and the package need not be installed."""
    root = str(Path(__file__).parents[2])
    path = environment.get("PYTHONPATH")
    return {**environment, "PYTHONPATH": root + (os.pathsep + path if path else "")}
