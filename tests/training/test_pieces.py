"""A folder that travels in pieces is the same folder, or an error that says which piece to copy."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from engine.training.loop import TrainingError
from engine.training.pieces import INDEX_FILE, join_folder, split_folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = random.Random(0)
    root = tmp_path / "run"
    (root / "adapter").mkdir(parents=True)
    (root / "state.json").write_text("{}")
    (root / "empty").write_bytes(b"")
    (root / "adapter" / "weights").write_bytes(rng.randbytes(5000))
    return root


@pytest.mark.parametrize("max_bytes", [1, 7, 999, 1000, 5002, 10**6])
def test_round_trip(folder: Path, tmp_path: Path, max_bytes: int) -> None:
    num_pieces = split_folder(folder, tmp_path / "pieces", max_bytes)
    sizes = [path.stat().st_size for path in (tmp_path / "pieces").glob("piece-*")]
    assert len(sizes) == num_pieces == -(-5002 // max_bytes)
    assert max(sizes) <= max_bytes
    assert join_folder(tmp_path / "pieces", tmp_path / "again") == 3
    for path in folder.rglob("*"):
        if path.is_file():
            again = tmp_path / "again" / path.relative_to(folder)
            assert again.read_bytes() == path.read_bytes()
    assert not list((tmp_path / "again").rglob("*.part"))


def test_a_missing_piece_is_named(folder: Path, tmp_path: Path) -> None:
    split_folder(folder, tmp_path / "pieces", 1000)
    (tmp_path / "pieces" / "piece-00002").unlink()
    with pytest.raises(TrainingError, match="lacks piece-00002"):
        join_folder(tmp_path / "pieces", tmp_path / "again")


def test_a_damaged_piece_gives_no_file(folder: Path, tmp_path: Path) -> None:
    split_folder(folder, tmp_path / "pieces", 1000)
    piece = tmp_path / "pieces" / "piece-00001"
    piece.write_bytes(bytes(1000))
    with pytest.raises(TrainingError, match="adapter/weights is damaged"):
        join_folder(tmp_path / "pieces", tmp_path / "again")
    assert not (tmp_path / "again" / "adapter" / "weights").exists()


@pytest.mark.parametrize("name", ["../outside", "/outside", "a/../../outside"])
def test_an_index_cannot_write_elsewhere(folder: Path, tmp_path: Path, name: str) -> None:
    split_folder(folder, tmp_path / "pieces", 1000)
    index = json.loads((tmp_path / "pieces" / INDEX_FILE).read_text())
    index["files"][0]["path"] = name
    (tmp_path / "pieces" / INDEX_FILE).write_text(json.dumps(index))
    with pytest.raises(TrainingError, match="outside the folder"):
        join_folder(tmp_path / "pieces", tmp_path / "again")


def test_refusals(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "nothing").mkdir()
    with pytest.raises(TrainingError, match="no files to split"):
        split_folder(tmp_path / "nothing", tmp_path / "pieces", 10)
    with pytest.raises(TrainingError, match="is not empty"):
        split_folder(folder, folder, 10)
    with pytest.raises(TrainingError, match=r"holds no pieces\.json"):
        join_folder(tmp_path / "nothing", tmp_path / "again")
