"""Shared fixtures: the tiny trained model, the default model where it is installed, and marks."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from hypothesis import settings

if not torch.cuda.is_available():
    # Kernels are tested in triton's interpreter, which must be asked for before triton is imported,
    # and other tests import it too (transformers does).
    os.environ.setdefault("TRITON_INTERPRET", "1")

from engine.config import DEFAULT_MODEL, EngineConfig
from engine.engine import Engine

# How long an example takes is never asserted, and every run draws the same examples.
settings.register_profile("nemodiff", deadline=None, derandomize=True)
settings.load_profile("nemodiff")

TINY_CHECKPOINT = Path(__file__).parent / "tiny_model" / "checkpoint"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """GPU tests report themselves as skipped on a machine without one; they never vanish."""
    if torch.cuda.is_available():
        return
    for item in items:
        if item.get_closest_marker("gpu"):
            item.add_marker(pytest.mark.skip(reason="no CUDA device"))


@pytest.fixture(scope="session", autouse=True)
def _threads() -> None:
    """Test workers share few cores; results do not depend on the thread count."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tiny_config() -> EngineConfig:
    return EngineConfig(model=str(TINY_CHECKPOINT), device="cpu", dtype="float32", num_threads=1)


@pytest.fixture(scope="session")
def tiny_session_engine(tiny_config: EngineConfig) -> Engine:
    return Engine.load(tiny_config)


@pytest.fixture
def tiny(tiny_session_engine: Engine) -> Engine:
    """The tiny trained Nemotron-format model in fp32, checked for leaks after each test."""
    tiny_session_engine.prefix_cache.check_integrity()
    return tiny_session_engine


def default_model_folder() -> Path | None:
    """Where the default model is installed, or None."""
    from engine.weights.store import find

    installed = find(DEFAULT_MODEL)
    return None if installed is None else installed.folder


@pytest.fixture(scope="session")
def default_model() -> Path:
    """Folder of the default model; its tests are skipped, with the reason, where it is absent."""
    folder = default_model_folder()
    if folder is None:
        if os.environ.get("NEMODIFF_REQUIRE_MODEL"):
            pytest.fail(f"{DEFAULT_MODEL} is not installed, but NEMODIFF_REQUIRE_MODEL is set")
        pytest.skip(f"{DEFAULT_MODEL} is not installed: run `nemodiff models pull`")
    return folder
