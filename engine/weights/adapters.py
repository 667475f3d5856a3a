"""LoRA adapters in PEFT's folder layout: read with every fault named, and written.

`engine.models` applies what `read_adapter` returns; training writes with `write_adapter`. Layout:
``adapter_config.json`` and ``adapter_model.safetensors`` (https://huggingface.co/docs/peft), plus
our own optional tensor ``mask_embedding`` for diffusion adapters over an autoregressive base. Where
a repository asks for small files the matrices are int8 with a scale per row
(`engine.weights.int8_rows`), which PEFT itself does not read.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from engine.models.config import ModelConfig
from engine.weights.checkpoint import PICKLE_SUFFIXES, expected_shapes, refuse_pickle
from engine.weights.errors import WeightsError
from engine.weights.int8_rows import SCALE_SUFFIX, dequantize_rows, quantize_rows
from engine.weights.safetensors_file import TensorInfo, check_dtype, read_header

CONFIG_FILE = "adapter_config.json"
WEIGHTS_FILE = "adapter_model.safetensors"
MASK_EMBEDDING = "mask_embedding"

_TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
_KEY = re.compile(
    r"^(?:base_model\.model\.)?(?:language_model\.|model\.|encoder\.)*"
    r"(?P<module>layers\.\d+\.(?:self_attn|mlp)\.\w+)\.lora_(?P<side>[AB])(?:\.default)?\.weight$"
)
# Options that change what the adapter computes, and the only values that this reader implements.
_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "bias": (None, "none"),
    "lora_bias": (None, False),
    "use_dora": (None, False),
    "fan_in_fan_out": (None, False),
    "modules_to_save": (None, []),
    "rank_pattern": (None, {}),
    "alpha_pattern": (None, {}),
    "layer_replication": (None, []),
    "target_parameters": (None, []),
    "trainable_token_indices": (None, [], {}),
}
# These start from changed base weights, so the delta alone does not give the trained model.
_CHANGED_BASE = ("pissa", "olora", "loftq", "corda")


@dataclass(frozen=True, slots=True)
class LoraAdapter:
    """y = F.linear(x, W) + scale * F.linear(F.linear(x, A), B) at each adapted module.

    pairs: canonical module name such as ``layers.3.self_attn.o_proj`` -> (A (rank, in),
    B (out, rank)), in the dtype of the file. mask_embedding: (hidden,), what a mask's embedding
    becomes, or None.
    """

    rank: int
    scale: float
    pairs: dict[str, tuple[torch.Tensor, torch.Tensor]]
    mask_embedding: torch.Tensor | None = None


def read_adapter(folder: Path, config: ModelConfig) -> LoraAdapter:
    """The adapter in `folder`, checked against the model it is for.

    Raises WeightsError naming the field or tensor at fault.
    """
    raw = _read_config(folder)
    rank, scale = _rank_and_scale(folder, raw)
    path = _weights_file(folder)
    found: dict[str, dict[str, str]] = {}
    infos = read_header(path)
    scales = _int8_scales(path, infos)
    for name, info in infos.items():
        if name in scales.values():
            continue
        if name not in scales:
            check_dtype(path, name, info)
        if name == MASK_EMBEDDING:
            _expect_shape(path, name, info.shape, (config.hidden_size,))
            continue
        match = _KEY.match(name)
        if match is None:
            raise WeightsError(f"{path}: tensor {name} is not a LoRA weight of a linear layer.")
        sides = found.setdefault(match["module"], {})
        if match["side"] in sides:
            raise WeightsError(f"{path}: tensor {name} is a second {sides[match['side']]}.")
        sides[match["side"]] = name
    _check_modules(path, raw, found, config)
    shapes = expected_shapes(config)
    pairs: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}
    with safe_open(path, framework="pt") as file:
        for module, sides in found.items():
            out_size, in_size = shapes[f"{module}.weight"]
            _expect_shape(path, sides["A"], infos[sides["A"]].shape, (rank, in_size))
            _expect_shape(path, sides["B"], infos[sides["B"]].shape, (out_size, rank))
            down, up = (_matrix(file, sides[side], scales) for side in "AB")
            pairs[module] = (down, up)
        mask = file.get_tensor(MASK_EMBEDDING) if MASK_EMBEDDING in infos else None
    return LoraAdapter(rank, scale, pairs, mask)


def write_adapter(folder: Path, adapter: LoraAdapter, *, int8: bool = False) -> None:
    """Write `adapter` into `folder` (made if absent) so that `read_adapter` gives it back.

    Each file appears by a rename. The scale is stored as PEFT does, as alpha = scale * rank.
    int8: the matrices in a quarter of the size of fp32, rounded.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {
        f"base_model.model.model.{module}.lora_{side}.weight": tensor.contiguous()
        for module, pair in adapter.pairs.items()
        for side, tensor in zip("AB", pair, strict=True)
    }
    if int8:
        tensors = _as_int8(tensors)
    if adapter.mask_embedding is not None:
        tensors[MASK_EMBEDDING] = adapter.mask_embedding.contiguous()
    alpha = adapter.scale * adapter.rank
    raw = {
        "peft_type": "LORA",
        "r": adapter.rank,
        "lora_alpha": int(alpha) if alpha == int(alpha) else alpha,
        "target_modules": sorted({module.rsplit(".", 1)[1] for module in adapter.pairs}),
        "layers_to_transform": sorted({int(module.split(".")[1]) for module in adapter.pairs}),
        "bias": "none",
        "inference_mode": True,
    }
    weights, text = folder / f"{WEIGHTS_FILE}.tmp", folder / f"{CONFIG_FILE}.tmp"
    save_file(tensors, weights, metadata={"format": "pt"})
    text.write_text(json.dumps(raw, indent=2), encoding="utf-8")
    os.replace(weights, folder / WEIGHTS_FILE)
    os.replace(text, folder / CONFIG_FILE)


def _as_int8(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    found = {}
    for name, matrix in tensors.items():
        found[name], found[name + SCALE_SUFFIX] = quantize_rows(matrix)
    return found


def _int8_scales(path: Path, infos: Mapping[str, TensorInfo]) -> dict[str, str]:
    """Name of the scales of each int8 matrix. Raises WeightsError where they are not right."""
    scales = {}
    for name, info in infos.items():
        if info.dtype != "I8":
            continue
        scale = infos.get(name + SCALE_SUFFIX)
        if scale is None or scale.dtype != "F32" or scale.shape != info.shape[:1]:
            raise WeightsError(f"{path}: tensor {name} is int8, but its F32 scales are missing.")
        scales[name] = name + SCALE_SUFFIX
    return scales


def _matrix(file: Any, name: str, scales: Mapping[str, str]) -> torch.Tensor:
    stored: torch.Tensor = file.get_tensor(name)
    return dequantize_rows(stored, file.get_tensor(scales[name])) if name in scales else stored


def _read_config(folder: Path) -> dict[str, Any]:
    path = folder / CONFIG_FILE
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except OSError:
        raise WeightsError(
            f"{folder} is not an adapter folder: {CONFIG_FILE} is missing."
        ) from None
    except ValueError as error:
        raise WeightsError(f"{path} is not valid JSON ({error}).") from None
    if not isinstance(raw, dict):
        raise WeightsError(f"{path} must hold a JSON object.")
    if raw.get("peft_type", "LORA") != "LORA":
        raise WeightsError(f"{path}: peft_type {raw['peft_type']!r} is not supported, only 'LORA'.")
    for key, neutral in _NEUTRAL.items():
        if raw.get(key) not in neutral:
            raise WeightsError(f"{path}: {key} {raw[key]!r} is not supported.")
    if str(raw.get("init_lora_weights", True)).lower().startswith(_CHANGED_BASE):
        raise WeightsError(
            f"{path}: init_lora_weights {raw['init_lora_weights']!r} needs a changed base model, "
            "which is not supported."
        )
    return raw


def _rank_and_scale(folder: Path, raw: dict[str, Any]) -> tuple[int, float]:
    path = folder / CONFIG_FILE
    rank, alpha = raw.get("r"), raw.get("lora_alpha")
    if isinstance(rank, bool) or not isinstance(rank, int) or rank < 1:
        raise WeightsError(f"{path}: r must be a positive integer, not {rank!r}.")
    if isinstance(alpha, bool) or not isinstance(alpha, (int, float)) or not math.isfinite(alpha):
        raise WeightsError(f"{path}: lora_alpha must be a number, not {alpha!r}.")
    # Rank-stabilised LoRA (arXiv 2312.03732) divides by the root of the rank.
    return rank, alpha / (math.sqrt(rank) if raw.get("use_rslora") else rank)


def _weights_file(folder: Path) -> Path:
    path = folder / WEIGHTS_FILE
    if path.is_file():
        return path
    for other in sorted(folder.iterdir()):
        if other.suffix in PICKLE_SUFFIXES:
            raise WeightsError(refuse_pickle(other))
    raise WeightsError(f"{folder} holds no {WEIGHTS_FILE}.")


def _check_modules(
    path: Path, raw: dict[str, Any], found: dict[str, dict[str, str]], config: ModelConfig
) -> None:
    """Every module of the file is one of the model's, complete, and none that was asked for lacks.

    PEFT's target_modules may be a list of names or a pattern; only a list tells what must exist.
    """
    shapes = expected_shapes(config)
    for module, sides in found.items():
        if f"{module}.weight" not in shapes or module.rsplit(".", 1)[1] not in _TARGETS:
            raise WeightsError(
                f"{path}: {module} is not a linear layer of this model "
                f"with {config.num_layers} layers."
            )
        for side in "AB":
            if side not in sides:
                raise WeightsError(f"{path}: lora_{side} of {module} is missing.")
    targets = raw.get("target_modules")
    targets = targets if isinstance(targets, list) else []
    layers = raw.get("layers_to_transform")
    layers = [layers] if isinstance(layers, int) else layers or range(config.num_layers)
    for target in targets:
        name = str(target).rsplit(".", 1)[-1]
        if name not in _TARGETS:
            raise WeightsError(
                f"{path.parent / CONFIG_FILE}: target module {target!r} is not supported; "
                f"supported are {', '.join(_TARGETS)}."
            )
        if name != target:  # a full module path adapts one layer only
            continue
        part = "self_attn" if name in _TARGETS[:4] else "mlp"
        for layer in layers:
            if f"layers.{layer}.{part}.{name}" not in found:
                raise WeightsError(f"{path}: the LoRA of layers.{layer}.{part}.{name} is missing.")


def _expect_shape(path: Path, name: str, shape: tuple[int, ...], wanted: tuple[int, ...]) -> None:
    if shape != wanted:
        raise WeightsError(
            f"{path}: tensor {name} has shape {list(shape)}, but the model and the adapter's "
            f"config ask for {list(wanted)}."
        )
