"""Checkpoints that open, and a list of broken ones with the sentence each must give."""

from __future__ import annotations

import json
import os
import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from engine.weights.checkpoint import expected_shapes, open_checkpoint
from engine.weights.errors import WeightsError

from .builders import NEMOTRON, QWEN, config_of, on_disk_name, random_tensors, write_checkpoint


@pytest.mark.parametrize("raw", [QWEN, NEMOTRON], ids=["qwen2", "nemotron"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_a_checkpoint_gives_its_tensors_under_canonical_names(
    tmp_path: Path, raw: dict[str, Any], dtype: torch.dtype
) -> None:
    canonical = {name: t.to(dtype) for name, t in random_tensors(raw).items()}
    write_checkpoint(tmp_path, raw, {on_disk_name(raw, n): t for n, t in canonical.items()})
    found = dict(open_checkpoint(tmp_path).tensors())
    assert list(found) == list(expected_shapes(config_of(raw)))
    for name, tensor in canonical.items():
        assert found[name].dtype == dtype
        assert torch.equal(found[name], tensor), name


def test_expected_shapes_take_the_attention_width_from_head_dim() -> None:
    shapes = expected_shapes(config_of(NEMOTRON))
    assert shapes["layers.1.self_attn.q_proj.weight"] == (24, 16)
    assert shapes["layers.1.self_attn.k_proj.weight"] == (12, 16)
    assert shapes["layers.1.self_attn.o_proj.weight"] == (16, 24)
    assert shapes["lm_head.weight"] == (128, 16)
    assert "layers.0.self_attn.q_proj.bias" not in shapes
    assert len(shapes) == 9 * 2 + 3
    assert expected_shapes(config_of(QWEN))["layers.0.self_attn.v_proj.bias"] == (8,)


def _sharded(folder: Path, raw: dict[str, Any] = NEMOTRON) -> dict[str, torch.Tensor]:
    """The checkpoint cut into two shards with an index."""
    canonical = write_checkpoint(folder, raw)
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(tensors)
    weight_map = {}
    for number, part in enumerate((names[:7], names[7:]), start=1):
        file = f"model-0000{number}-of-00002.safetensors"
        save_file({name: tensors[name] for name in part}, folder / file)
        weight_map |= dict.fromkeys(part, file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    return canonical


def test_shards_are_read_through_their_index(tmp_path: Path) -> None:
    canonical = _sharded(tmp_path)
    found = dict(open_checkpoint(tmp_path).tensors())
    assert found.keys() == canonical.keys()
    assert all(torch.equal(found[name], canonical[name]) for name in canonical)


def test_a_draft_adapter_below_the_checkpoint_is_no_shard(tmp_path: Path) -> None:
    canonical = write_checkpoint(tmp_path, NEMOTRON)
    (tmp_path / "linear_spec_lora").mkdir()
    save_file({"x": torch.zeros(1)}, tmp_path / "linear_spec_lora" / "adapter_model.safetensors")
    assert dict(open_checkpoint(tmp_path).tensors()).keys() == canonical.keys()


def test_a_vision_tower_is_ignored_with_a_note(tmp_path: Path) -> None:
    raw = {**NEMOTRON, "model_type": "nemotron_labs_diffusion_vlm"}
    canonical = random_tensors(raw)
    tensors = {f"language_model.{on_disk_name(raw, n)}": t for n, t in canonical.items()}
    tensors["vision_tower.patch.weight"] = torch.zeros(3, dtype=torch.float64)
    tensors["multi_modal_projector.linear.weight"] = torch.zeros(3)
    write_checkpoint(tmp_path, raw, tensors)
    checkpoint = open_checkpoint(tmp_path)
    assert dict(checkpoint.tensors()).keys() == canonical.keys()
    assert any("vision tower" in note for note in checkpoint.notes)
    assert "2 tensors of the vision tower" in checkpoint.notes[-1]


def test_a_tied_checkpoint_may_carry_an_equal_head(tmp_path: Path) -> None:
    canonical = random_tensors(QWEN)
    tensors = {on_disk_name(QWEN, n): t for n, t in canonical.items()}
    write_checkpoint(
        tmp_path, QWEN, {**tensors, "lm_head.weight": canonical["embed_tokens.weight"].clone()}
    )
    assert dict(open_checkpoint(tmp_path).tensors()).keys() == canonical.keys()


def test_a_tied_checkpoint_with_another_head_is_refused(tmp_path: Path) -> None:
    canonical = random_tensors(QWEN)
    tensors = {on_disk_name(QWEN, n): t for n, t in canonical.items()}
    write_checkpoint(
        tmp_path, QWEN, {**tensors, "lm_head.weight": canonical["embed_tokens.weight"] + 1}
    )
    with pytest.raises(WeightsError, match=r"lm_head\.weight differs from it"):
        dict(open_checkpoint(tmp_path).tensors())


def test_pickles_beside_safetensors_are_named_and_never_opened(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, QWEN)
    (tmp_path / "pytorch_model.bin").write_bytes(pickle.dumps("never read"))
    assert open_checkpoint(tmp_path).notes == ("Pickle files are ignored: pytorch_model.bin.",)


Change = Callable[[Path], None]


def _edit_config(**changes: Any) -> Change:
    def change(folder: Path) -> None:
        raw = json.loads((folder / "config.json").read_text())
        raw.update(changes)
        (folder / "config.json").write_text(json.dumps(raw))

    return change


def _edit_tensors(edit: Callable[[dict[str, torch.Tensor]], object]) -> Change:
    def change(folder: Path) -> None:
        tensors = load_file(folder / "model.safetensors")
        edit(tensors)
        save_file(tensors, folder / "model.safetensors")

    return change


def _edit_bytes(edit: Callable[[bytes], bytes], file: str = "model.safetensors") -> Change:
    def change(folder: Path) -> None:
        (folder / file).write_bytes(edit((folder / file).read_bytes()))

    return change


def _edit_header(edit: Callable[[dict[str, Any]], object]) -> Change:
    def on_bytes(data: bytes) -> bytes:
        (length,) = struct.unpack("<Q", data[:8])
        header = json.loads(data[8 : 8 + length])
        edit(header)
        text = json.dumps(header).encode()
        return struct.pack("<Q", len(text)) + text + data[8 + length :]

    return _edit_bytes(on_bytes)


def _rename(old: str, new: str) -> Change:
    return lambda folder: (folder / old).rename(folder / new) and None


def _pipe_instead(file: str) -> Change:
    def change(folder: Path) -> None:
        (folder / file).unlink()
        os.mkfifo(folder / file)

    return change


def _shard_and(edit: Callable[[dict[str, str]], object]) -> Change:
    def change(folder: Path) -> None:
        _sharded(folder)
        index = folder / "model.safetensors.index.json"
        raw = json.loads(index.read_text())
        edit(raw["weight_map"])
        index.write_text(json.dumps(raw))

    return change


def _shard_and_remove(folder: Path) -> None:
    _sharded(folder)
    (folder / "model-00002-of-00002.safetensors").unlink()


def _shard_and_forget_index(folder: Path) -> None:
    _sharded(folder)
    (folder / "model.safetensors.index.json").unlink()


def _shard_and_break_index(folder: Path) -> None:
    _sharded(folder)
    (folder / "model.safetensors.index.json").write_text('{"weight_map": ')


NORM = "encoder.layers.1.input_layernorm.weight"
GATE = "encoder.layers.0.mlp.gate_proj.weight"
BAD_CHECKPOINTS: dict[str, tuple[Change, str]] = {
    "no config": (lambda f: (f / "config.json").unlink(), "config.json does not exist"),
    "config no json": (_edit_bytes(lambda b: b[:-5], "config.json"), "is not valid JSON"),
    "unknown type": (_edit_config(model_type="gpt2"), "model_type is 'gpt2'"),
    "missing tensor": (_edit_tensors(lambda t: t.pop(NORM)), "layers.1.input_layernorm.weight is "),
    "missing head": (
        _edit_tensors(lambda t: t.pop("diffusion_head.weight")),
        "lm_head.weight is missing",
    ),
    "surplus tensor": (
        _edit_tensors(lambda t: t.update({"encoder.extra.weight": torch.zeros(2)})),
        "tensor encoder.extra.weight is surplus",
    ),
    "bias in a model without": (
        _edit_tensors(
            lambda t: t.update({"encoder.layers.0.self_attn.q_proj.bias": torch.zeros(24)})
        ),
        "q_proj.bias is surplus",
    ),
    "wrong shape": (
        _edit_tensors(lambda t: t.update({GATE: torch.zeros(24, 17)})),
        r"gate_proj.weight has shape \[24, 17\], but config.json asks for \[24, 16\]",
    ),
    "twice": (
        _edit_tensors(lambda t: t.update({GATE.replace("encoder", "model"): t[GATE].clone()})),
        "is a second",
    ),
    "config: other width": (_edit_config(intermediate_size=25), r"config.json asks for \[25, 16\]"),
    "config: fewer layers": (
        _edit_config(num_hidden_layers=1),
        "num_hidden_layers is 1, but the weights hold 2 layers",
    ),
    "config: a billion layers": (
        _edit_config(num_hidden_layers=10**9),
        "num_hidden_layers is 1000000000, but the weights hold 2 layers",
    ),
    "weights are a pipe": (
        _pipe_instead("model.safetensors"),
        r"model.safetensors is not a regular file",
    ),
    "config is a pipe": (_pipe_instead("config.json"), "config.json is not a regular file"),
    "index is a pipe": (
        lambda f: os.mkfifo(f / "model.safetensors.index.json"),
        "index.json is not a regular file",
    ),
    "config: more layers": (_edit_config(num_hidden_layers=3), "is 3, but the weights hold 2"),
    "config: other head_dim": (_edit_config(head_dim=8), r"q_proj.weight has shape \[24, 16\]"),
    "config: other vocabulary": (
        _edit_config(vocab_size=131),
        r"embed_tokens.weight has shape \[128, 16\]",
    ),
    "dtype": (
        _edit_tensors(lambda t: t.update({NORM: torch.zeros(16, dtype=torch.float64)})),
        "input_layernorm.weight has dtype F64; supported are F32, F16, BF16",
    ),
    "truncated": (_edit_bytes(lambda b: b[:-100]), "is truncated: it has"),
    "truncated header": (_edit_bytes(lambda b: b[:200]), "is truncated or not a safetensors"),
    "empty file": (_edit_bytes(lambda b: b""), "is truncated or not a safetensors"),
    "surplus bytes": (_edit_bytes(lambda b: b + b"xyz"), "has 3 bytes more than its header"),
    "header no json": (_edit_bytes(lambda b: b[:8] + b"#" + b[9:]), "its header is no JSON"),
    "header without offsets": (
        _edit_header(lambda h: h[NORM].pop("data_offsets")),
        "the header entry of tensor encoder.layers.1.input_layernorm.weight is malformed",
    ),
    "header shape lies": (_edit_header(lambda h: h[NORM].update(shape=[17])), "not as many bytes"),
    "header overlaps": (
        _edit_header(lambda h: h[NORM].update(data_offsets=[0, 64])),
        "overlaps another one or leaves a gap",
    ),
    "pickle": (_rename("model.safetensors", "pytorch_model.bin"), "pytorch_model.bin is a pickle"),
    "pickle .pth": (_rename("model.safetensors", "consolidated.pth"), "is a pickle file"),
    "no weights": (lambda f: (f / "model.safetensors").unlink(), "holds no weights"),
    "only an adapter": (
        _rename("model.safetensors", "adapter_model.safetensors"),
        "holds a LoRA adapter",
    ),
    "index no json": (_shard_and_break_index, "index.json is not valid JSON"),
    "index without map": (
        lambda f: (f / "model.safetensors.index.json").write_text("[]") and None,
        "holds no weight_map",
    ),
    "missing shard": (_shard_and_remove, "model-00002-of-00002.safetensors, but this file is mis"),
    "shards without index": (_shard_and_forget_index, "2 safetensors files but no model.safetens"),
    "index lists too much": (
        _shard_and(lambda m: m.update({"encoder.ghost": "model-00001-of-00002.safetensors"})),
        "misses tensor encoder.ghost",
    ),
    "index lists too little": (_shard_and(lambda m: m.pop(NORM)), "does not list it there"),
    "index leads outside": (
        _shard_and(lambda m: m.update({NORM: "../other.safetensors"})),
        "not a file of this folder",
    ),
    "index names a pickle": (_shard_and(lambda m: m.update({NORM: "x.pt"})), "x.pt is a pickle"),
}


@pytest.mark.parametrize(("change", "message"), BAD_CHECKPOINTS.values(), ids=BAD_CHECKPOINTS)
def test_a_broken_checkpoint_is_refused_in_one_sentence(
    tmp_path: Path, change: Change, message: str
) -> None:
    write_checkpoint(tmp_path, NEMOTRON)
    open_checkpoint(tmp_path)
    change(tmp_path)
    with pytest.raises(WeightsError, match=message) as caught:
        open_checkpoint(tmp_path)
    text = str(caught.value)
    assert text.endswith(".") and "\n" not in text
    assert str(tmp_path) in text


def test_a_tied_checkpoint_with_a_head_of_another_shape_is_refused(tmp_path: Path) -> None:
    tensors = {on_disk_name(QWEN, n): t for n, t in random_tensors(QWEN).items()}
    write_checkpoint(tmp_path, QWEN, {**tensors, "lm_head.weight": torch.zeros(41, 16)})
    with pytest.raises(WeightsError, match=r"lm_head.weight has shape \[41, 16\]"):
        open_checkpoint(tmp_path)
