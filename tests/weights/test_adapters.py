"""LoRA adapters: PEFT's layout read and written, and broken ones refused."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from engine.weights.adapters import LoraAdapter, read_adapter, write_adapter
from engine.weights.errors import WeightsError

from .builders import NEMOTRON, QWEN, config_of

CONFIG = config_of(NEMOTRON)


def write_released(folder: Path, **changes: Any) -> dict[str, torch.Tensor]:
    """An adapter as released with the model: o_proj only, rank 4, alpha 16."""
    folder.mkdir(parents=True, exist_ok=True)
    raw = {
        "peft_type": "LORA",
        "r": 4,
        "lora_alpha": 16,
        "target_modules": ["o_proj"],
        "bias": "none",
        **changes,
    }
    (folder / "adapter_config.json").write_text(json.dumps(raw))
    tensors = {}
    for layer in range(2):
        prefix = f"base_model.model.encoder.layers.{layer}.self_attn.o_proj"
        tensors[f"{prefix}.lora_A.weight"] = torch.randn(4, 24)
        tensors[f"{prefix}.lora_B.weight"] = torch.randn(16, 4)
    save_file(tensors, folder / "adapter_model.safetensors")
    return tensors


def test_the_released_layout_is_read(tmp_path: Path) -> None:
    tensors = write_released(tmp_path)
    adapter = read_adapter(tmp_path, CONFIG)
    assert (adapter.rank, adapter.scale) == (4, 4.0)
    assert adapter.mask_embedding is None
    assert set(adapter.pairs) == {"layers.0.self_attn.o_proj", "layers.1.self_attn.o_proj"}
    a, b = adapter.pairs["layers.1.self_attn.o_proj"]
    prefix = "base_model.model.encoder.layers.1.self_attn.o_proj"
    assert torch.equal(a, tensors[f"{prefix}.lora_A.weight"])
    assert torch.equal(b, tensors[f"{prefix}.lora_B.weight"])


def test_rank_stabilised_lora_divides_by_the_root(tmp_path: Path) -> None:
    write_released(tmp_path, use_rslora=True)
    assert read_adapter(tmp_path, CONFIG).scale == 16 / math.sqrt(4)


MODULES = {
    "self_attn.q_proj": (16, 16),
    "self_attn.v_proj": (8, 16),
    "self_attn.o_proj": (16, 16),
    "mlp.gate_proj": (24, 16),
    "mlp.down_proj": (16, 24),
}


@settings(max_examples=25, deadline=None)
@given(
    rank=st.sampled_from([1, 2, 8]),
    scale=st.sampled_from([0.5, 1.0, 2.0, 4.0]),
    modules=st.sets(st.sampled_from(sorted(MODULES)), min_size=1),
    layers=st.sampled_from([(0,), (1,), (0, 1)]),
    with_mask=st.booleans(),
    dtype=st.sampled_from([torch.float32, torch.bfloat16]),
)
def test_a_written_adapter_reads_back_equal(
    tmp_path_factory: pytest.TempPathFactory,
    rank: int,
    scale: float,
    modules: set[str],
    layers: tuple[int, ...],
    with_mask: bool,
    dtype: torch.dtype,
) -> None:
    pairs = {
        f"layers.{layer}.{module}": (
            torch.randn(rank, MODULES[module][1]).to(dtype),
            torch.randn(MODULES[module][0], rank).to(dtype),
        )
        for layer in layers
        for module in modules
    }
    mask = torch.randn(16).to(dtype) if with_mask else None
    folder = tmp_path_factory.mktemp("adapter")
    write_adapter(folder, LoraAdapter(rank, scale, pairs, mask))
    found = read_adapter(folder, config_of(QWEN))
    assert (found.rank, found.scale, set(found.pairs)) == (rank, scale, set(pairs))
    for module, (a, b) in pairs.items():
        assert torch.equal(found.pairs[module][0], a) and found.pairs[module][0].dtype == dtype
        assert torch.equal(found.pairs[module][1], b)
    if mask is None:
        assert found.mask_embedding is None
    else:
        assert found.mask_embedding is not None and torch.equal(found.mask_embedding, mask)
    assert sorted(path.name for path in folder.iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
    ]


Edit = Callable[[dict[str, torch.Tensor]], object]
O_PROJ = "base_model.model.encoder.layers.0.self_attn.o_proj"
BAD_TENSORS: dict[str, tuple[Edit, str]] = {
    "A missing": (lambda t: t.pop(f"{O_PROJ}.lora_A.weight"), "lora_A of layers.0.self_attn.o_pro"),
    "pair missing": (
        lambda t: [t.pop(f"{O_PROJ}.lora_{side}.weight") for side in "AB"],
        "the LoRA of layers.0.self_attn.o_proj is missing",
    ),
    "A shape": (
        lambda t: t.update({f"{O_PROJ}.lora_A.weight": torch.zeros(4, 16)}),
        r"lora_A.weight has shape \[4, 16\].*ask for \[4, 24\]",
    ),
    "B rank": (
        lambda t: t.update({f"{O_PROJ}.lora_B.weight": torch.zeros(16, 8)}),
        r"lora_B.weight has shape \[16, 8\]",
    ),
    "layer outside": (
        lambda t: t.update({O_PROJ.replace("0", "7") + ".lora_A.weight": torch.zeros(4, 24)}),
        "layers.7.self_attn.o_proj is not a linear layer of this model with 2 layers",
    ),
    "embedding": (
        lambda t: t.update({"base_model.model.encoder.embed_tokens.lora_A": torch.zeros(1)}),
        "is not a LoRA weight of a linear layer",
    ),
    "dora vector": (
        lambda t: t.update({f"{O_PROJ}.lora_magnitude_vector": torch.zeros(16)}),
        "lora_magnitude_vector is not a LoRA weight",
    ),
    "mask width": (
        lambda t: t.update({"mask_embedding": torch.zeros(17)}),
        r"mask_embedding has shape \[17\]",
    ),
    "dtype": (
        lambda t: t.update({f"{O_PROJ}.lora_B.weight": torch.zeros(16, 4, dtype=torch.int32)}),
        "has dtype I32",
    ),
    "twice": (
        lambda t: t.update({f"{O_PROJ}.lora_A.default.weight": torch.zeros(4, 24)}),
        "is a second",
    ),
}
BAD_CONFIGS: dict[str, tuple[dict[str, Any], str]] = {
    "bias": ({"bias": "all"}, "bias 'all' is not supported"),
    "dora": ({"use_dora": True}, "use_dora True is not supported"),
    "saved modules": ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
    "rank pattern": ({"rank_pattern": {"o_proj": 8}}, "rank_pattern"),
    "other target": ({"target_modules": ["o_proj", "lm_head"]}, "target module 'lm_head' is not"),
    "target without weights": (
        {"target_modules": ["o_proj", "q_proj"]},
        "the LoRA of layers.0.self_attn.q_proj is missing",
    ),
    "not lora": ({"peft_type": "IA3"}, "peft_type 'IA3'"),
    "rank": ({"r": 0}, "r must be a positive integer"),
    "other rank": ({"r": 8}, r"has shape \[4, 24\].*ask for \[8, 24\]"),
    "alpha": ({"lora_alpha": "x"}, "lora_alpha must be a number"),
    "pissa": ({"init_lora_weights": "pissa_niter_4"}, "needs a changed base model"),
}


def _refused(folder: Path, message: str) -> None:
    with pytest.raises(WeightsError, match=message) as caught:
        read_adapter(folder, CONFIG)
    assert str(caught.value).endswith(".") and "\n" not in str(caught.value)
    assert str(folder) in str(caught.value)


@pytest.mark.parametrize(("edit", "message"), BAD_TENSORS.values(), ids=BAD_TENSORS)
def test_broken_adapter_weights_are_refused(tmp_path: Path, edit: Edit, message: str) -> None:
    write_released(tmp_path)
    path = tmp_path / "adapter_model.safetensors"
    tensors = load_file(path)
    edit(tensors)
    save_file(tensors, path)
    _refused(tmp_path, message)


@pytest.mark.parametrize(("changes", "message"), BAD_CONFIGS.values(), ids=BAD_CONFIGS)
def test_unsupported_adapter_configs_are_refused(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    write_released(tmp_path, **changes)
    _refused(tmp_path, message)


def test_an_adapter_in_a_pickle_is_refused_by_name(tmp_path: Path) -> None:
    write_released(tmp_path)
    (tmp_path / "adapter_model.safetensors").rename(tmp_path / "adapter_model.bin")
    _refused(tmp_path, "adapter_model.bin is a pickle file")


def test_a_folder_without_an_adapter_is_refused(tmp_path: Path) -> None:
    _refused(tmp_path, "adapter_config.json is missing")


def test_int8_matrices_are_read_back_within_half_a_step(tmp_path: Path) -> None:
    adapter = read_adapter_of_random(tmp_path / "plain")
    write_adapter(tmp_path / "small", adapter, int8=True)
    again = read_adapter(tmp_path / "small", CONFIG)
    assert (again.rank, again.scale, set(again.pairs)) == (4, 4.0, set(adapter.pairs))
    for module, pair in adapter.pairs.items():
        for wanted, found in zip(pair, again.pairs[module], strict=True):
            step = wanted.abs().amax(dim=1, keepdim=True) / 127
            # Half a step, and what bf16 rounds away of the largest value.
            assert bool(((wanted - found.float()).abs() <= 0.5 * step + 127 * step / 256).all())
    stored = load_file(tmp_path / "small" / "adapter_model.safetensors")
    assert {each.dtype for each in stored.values() if each.dim() == 2} == {torch.int8}


def test_a_row_of_zeros_stays_zero(tmp_path: Path) -> None:
    adapter = read_adapter_of_random(tmp_path / "plain")
    for _, up in adapter.pairs.values():
        up[1] = 0.0
    write_adapter(tmp_path / "small", adapter, int8=True)
    for _, up in read_adapter(tmp_path / "small", CONFIG).pairs.values():
        assert not up[1].any() and bool(torch.isfinite(up).all())


@pytest.mark.parametrize("fault", ["missing", "shape", "dtype"])
def test_int8_without_the_right_scales_is_refused(tmp_path: Path, fault: str) -> None:
    write_adapter(tmp_path, read_adapter_of_random(tmp_path / "plain"), int8=True)
    tensors = load_file(tmp_path / "adapter_model.safetensors")
    name = next(name for name in tensors if name.endswith(".int8_scale"))
    if fault == "missing":
        del tensors[name]
    elif fault == "shape":
        tensors[name] = tensors[name][:-1].clone()
    else:
        tensors[name] = tensors[name].bfloat16()
    save_file(tensors, tmp_path / "adapter_model.safetensors")
    with pytest.raises(WeightsError, match="F32 scales are missing"):
        read_adapter(tmp_path, CONFIG)


def read_adapter_of_random(folder: Path) -> LoraAdapter:
    write_released(folder)
    return read_adapter(folder, CONFIG)
