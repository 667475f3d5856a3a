"""Random checkpoints of the default model's family, written once."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.models import checkpoints


@pytest.fixture(scope="session")
def qwen_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Next-position logits, adapter at masks."""
    return checkpoints.write_qwen(tmp_path_factory.mktemp("qwen"))


@pytest.fixture(scope="session")
def qwen_adapter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random diffusion adapter over all linear layers of `qwen_folder`."""
    return checkpoints.write_diffusion_adapter(tmp_path_factory.mktemp("adapter"))
