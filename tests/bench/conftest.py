"""Small checkpoints to measure: what comes out is never asserted in time."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.models.checkpoints import write_diffusion_adapter, write_qwen


@pytest.fixture(scope="session")
def qwen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random checkpoint with fill-in-the-middle tokens and a draft adapter."""
    folder = write_qwen(tmp_path_factory.mktemp("bench") / "qwen")
    write_diffusion_adapter(folder / "diffusion_adapter")
    return folder
