"""Where the kernels of `engine.kernels` are tested: on a GPU, and without one in the interpreter.

The interpreter must be asked for before triton is imported: tests/conftest.py does.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from engine.kernels import problem
from engine.kernels.interpreter import mend_interpreter

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


@pytest.fixture(params=["interpreter", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request: pytest.FixtureRequest) -> torch.device:
    """The CPU with interpreted kernels, and the GPU; skipped, with the reason, where one of them
    cannot be had."""
    found = torch.device("cuda" if request.param == "cuda" else "cpu")
    reason = problem(found)
    if reason is not None:
        pytest.skip(reason)
    if found.type == "cpu":
        mend_interpreter()
    return found


@pytest.fixture(params=list(DTYPES))
def dtype(request: pytest.FixtureRequest) -> torch.dtype:
    """Of activations and weights."""
    return DTYPES[request.param]


@pytest.fixture(autouse=True)
def _poisoned_memory() -> Iterator[None]:
    """Every `torch.empty` is full of NaN (or of the largest integer): what a kernel leaves
    unwritten is found."""
    before = torch.are_deterministic_algorithms_enabled()
    warned = torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before, warn_only=warned)
