"""Rounded weights on disk: what is written is read, and nothing that is damaged or another's."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from engine.quantised.kept_file import kept_path, read_kept, write_kept
from engine.quantised.rounding import KINDS
from engine.quantised.weight import QuantisedWeight

CPU = torch.device("cpu")


@pytest.fixture
def weights() -> dict[str, QuantisedWeight]:
    weight = torch.randn(12, 100, generator=torch.Generator().manual_seed(0))
    return {f"layers.0.{kind}": QuantisedWeight.of(weight, kind) for kind in KINDS}


def test_what_is_written_is_read(tmp_path: Path, weights: dict[str, QuantisedWeight]) -> None:
    path = tmp_path / "x.int4.quantised"
    assert write_kept(path, weights)
    found = read_kept(path, CPU)
    assert found is not None and found.keys() == weights.keys()
    for name, expected in weights.items():
        each = found[name]
        assert (each.kind, each.num_inputs) == (expected.kind, 100)
        assert torch.equal(each.codes, expected.codes)
        assert each.codes.dtype == expected.codes.dtype
        assert torch.equal(each.dequantise(torch.float32), expected.dequantise(torch.float32))
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


def test_a_newer_file_takes_the_place_of_the_older_one_of_its_kind(
    tmp_path: Path, weights: dict[str, QuantisedWeight]
) -> None:
    for name in ("old.int4", "old.fp8", "new.int4"):
        assert write_kept(tmp_path / f"{name}.quantised", weights)
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"old.fp8.quantised", "new.int4.quantised"}


@pytest.mark.parametrize("damage", ["cut", "empty", "no header", "absent", "a folder"])
def test_a_file_that_is_not_whole_is_not_read(
    tmp_path: Path, weights: dict[str, QuantisedWeight], damage: str
) -> None:
    path = tmp_path / "x.int4.quantised"
    write_kept(path, weights)
    whole = path.read_bytes()
    path.unlink()
    if damage == "a folder":
        path.mkdir()
    elif damage != "absent":
        damaged = {"cut": whole[:-1], "empty": b"", "no header": bytes(len(whole))}
        path.write_bytes(damaged[damage])
    assert read_kept(path, CPU) is None


@pytest.mark.parametrize("fault", ["format", "kind", "inputs", "scales", "zeros"])
def test_a_file_that_does_not_fit_together_is_not_read(
    tmp_path: Path, weights: dict[str, QuantisedWeight], fault: str
) -> None:
    path = tmp_path / "x.int4.quantised"
    write_kept(path, weights)
    tensors = load_file(path)
    facts = {name: f"{each.kind} {each.num_inputs}" for name, each in weights.items()}
    facts["format"] = "1"
    save_file(tensors, path, metadata={"weights": json.dumps(facts)})
    assert read_kept(path, CPU) is not None
    if fault == "format":
        facts["format"] = "0"
    elif fault == "kind":
        facts["layers.0.int4"] = "int3 100"
    elif fault == "inputs":
        facts["layers.0.int4"] = "int4 300"
    elif fault == "scales":
        tensors["layers.0.int8.scales"] = tensors["layers.0.int8.scales"][:1].contiguous()
    else:
        del tensors["layers.0.int4.zeros"]
    save_file(tensors, path, metadata={"weights": json.dumps(facts)})
    assert read_kept(path, CPU) is None


def test_a_folder_that_cannot_be_written_is_no_trouble(
    tmp_path: Path, weights: dict[str, QuantisedWeight]
) -> None:
    assert not write_kept(tmp_path / "missing" / "x.int4.quantised", weights)


def test_the_name_follows_the_files_and_the_kind(tmp_path: Path) -> None:
    source = tmp_path / "model.safetensors"
    source.write_bytes(b"1")
    before = kept_path(tmp_path, "int4", [source])
    assert kept_path(tmp_path, "int4", [source]) == before
    assert kept_path(tmp_path, "fp8", [source]) != before
    source.write_bytes(b"12")
    assert kept_path(tmp_path, "int4", [source]) != before
