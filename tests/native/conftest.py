"""The kernels, where a compiler is at hand; each instruction set that this processor has."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from engine import native
from engine.native import library


@pytest.fixture(scope="session")
def built() -> None:
    problem = native.problem()
    if problem is not None:
        pytest.skip(f"no int8 kernels: {problem}")


@pytest.fixture(params=library.KERNELS)
def kernels(built: None, request: pytest.FixtureRequest) -> Iterator[str]:
    """The tests run once with each set of kernels."""
    best = library.kernels()
    if not library.choose_kernels(request.param):
        pytest.skip(f"this processor has no {request.param} kernels")
    yield request.param
    library.choose_kernels(best)


@pytest.fixture
def threads(built: None) -> Iterator[None]:
    """One thread again after a test that changes their number."""
    yield
    library.set_threads(1)
