"""The arrows: who may import what, seen in a clean interpreter."""

from __future__ import annotations

import subprocess
import sys

import pytest


def loaded_after(statement: str) -> set[str]:
    """Top-level modules in sys.modules after running `statement` in a fresh interpreter."""
    code = f"{statement}\nimport sys\nprint(*{{name.partition('.')[0] for name in sys.modules}})"
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    return set(run.stdout.split())


@pytest.mark.parametrize(
    "module",
    [
        "engine",
        "engine.messages.completion",
        "engine.messages.client",
        "engine.messages.launch",
        "engine.cli.main",
        "nemodiff_lsp.server",
        "nemodiff_lsp.__main__",
    ],
)
def test_stays_free_of_torch(module: str) -> None:
    assert not loaded_after(f"import {module}") & {"torch", "transformers", "numpy"}


@pytest.mark.parametrize("module", ["engine.engine", "engine.server.app", "engine.server.serve"])
def test_engine_stays_free_of_the_language_server(module: str) -> None:
    assert not loaded_after(f"import {module}") & {"pygls", "lsprotocol", "nemodiff_lsp"}


def test_language_server_takes_only_messages_from_the_engine() -> None:
    code = (
        "import nemodiff_lsp.server, nemodiff_lsp.link.engine_link, sys\n"
        "print(*(name for name in sys.modules if name.startswith('engine.')))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    allowed = ("engine.messages", "engine.errors")
    assert run.stdout.split()
    assert all(name.startswith(allowed) for name in run.stdout.split()), run.stdout
