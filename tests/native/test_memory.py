"""Memory that is given back: pages of files that were read, and nothing that is still in use."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from engine.native.memory import Arena, release

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="reads /proc, which only Linux has"
)

NUM_FLOATS = 2**20


def write_numbers(path: Path) -> torch.Tensor:
    """fp32 (NUM_FLOATS,), mapped from `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(torch.arange(NUM_FLOATS, dtype=torch.float32).numpy().tobytes())
    return torch.from_file(str(path), shared=False, size=NUM_FLOATS, dtype=torch.float32)


def resident_kib(path: Path) -> int:
    """Of what is mapped from `path`."""
    found, is_inside = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if "-" in line.split(maxsplit=1)[0]:
            is_inside = line.endswith(str(path))
        elif is_inside and line.startswith("Rss:"):
            found += int(line.split()[1])
    return found


def test_pages_of_files_in_the_folder_are_given_back_and_come_again(tmp_path: Path) -> None:
    mapped, beside = (write_numbers(tmp_path / name / "weights") for name in ("model", "model2"))
    expected = torch.arange(NUM_FLOATS, dtype=torch.float32)
    assert torch.equal(mapped, expected) and torch.equal(beside, expected)
    paths = [tmp_path / name / "weights" for name in ("model", "model2")]
    assert all(resident_kib(path) >= NUM_FLOATS * 4 // 1024 for path in paths)
    release(tmp_path / "model")
    assert resident_kib(paths[0]) == 0
    assert resident_kib(paths[1]) >= NUM_FLOATS * 4 // 1024
    assert torch.equal(mapped, expected)
    assert resident_kib(paths[0]) > 0


def test_memory_in_use_is_left_alone(tmp_path: Path) -> None:
    piece, plain = Arena().take(2**20).fill_(7), torch.full((2**20,), 3.0)
    for folder in (None, tmp_path, tmp_path / "missing"):
        release(folder)
    assert bool((piece == 7).all()) and bool((plain == 3).all())
