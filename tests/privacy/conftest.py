"""Fixtures of the privacy tests: a world of its own for every process under test."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

# The fake engine and the hand-driven server are the language server tests' own.
sys.path.insert(0, str(Path(__file__).parents[1] / "lsp"))


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A short-named folder in which everything lies that a process under test may write."""
    with tempfile.TemporaryDirectory(prefix="nd-") as name:
        folder = Path(name).resolve()
        for variable, part in (
            ("HOME", "home"),
            ("TMPDIR", "tmp"),
            ("XDG_CONFIG_HOME", "home/.config"),
            ("XDG_STATE_HOME", "home/.local/state"),
            ("XDG_CACHE_HOME", "home/.cache"),
            ("XDG_RUNTIME_DIR", "runtime"),
            ("NEMODIFF_RUNTIME_DIR", "runtime/nemodiff"),
        ):
            (folder / part).mkdir(mode=0o700, parents=True, exist_ok=True)
            monkeypatch.setenv(variable, str(folder / part))
        monkeypatch.delenv("NEMODIFF_STATE_DIR", raising=False)
        yield folder
