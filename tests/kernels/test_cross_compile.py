"""The small kernels are compiled for GPUs on any machine: the interpreter takes more than they do.

In a process of its own, as this one may interpret its kernels.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("triton", reason="triton is not installed")

ROOT = Path(__file__).parents[2]
CHIPS = ("80", "90")
KERNELS = [
    "norm._kernel",
    "rope._kernel",
    "swiglu._kernel",
    "low_rank._down_kernel",
    "low_rank._up_kernel",
    "survey._scan_kernel",
    "survey._join_kernel",
    "survey._commit_kernel",
]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    environment["TRITON_CACHE_DIR"] = str(tmp_path_factory.mktemp("triton"))
    command = [sys.executable, "-m", "tests.kernels.cross_compile", *CHIPS]
    run = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300
    )
    if run.returncode == 3:
        pytest.skip(run.stderr.strip())
    assert run.returncode == 0, run.stderr[-2000:]
    found: list[dict[str, Any]] = json.loads(run.stdout)
    return found


def test_every_kernel_compiles_and_fits(built: list[dict[str, Any]]) -> None:
    assert [one["kernel"] for one in built] == KERNELS * len(CHIPS)
    for one in built:
        assert one["shared memory"] <= 99 * 1024, one
        assert not one["spilled"], one


def test_the_adapter_uses_matrix_units(built: list[dict[str, Any]]) -> None:
    for one in built:
        assert (one["products"] > 0) == one["kernel"].startswith("low_rank."), one


def test_rows_are_stored_in_whole_vectors(built: list[dict[str, Any]]) -> None:
    """The cache too, of whose address nothing is known but what the kernel says of it."""
    for one in built:
        if one["kernel"].partition(".")[0] in ("norm", "rope", "swiglu", "low_rank"):
            assert one["wide stores"] > 0 and one["stores of one element"] == 0, one
