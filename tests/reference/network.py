"""A whole-sequence fp32 decoder without a cache: the caller gives positions and mask explicitly.

Reads a Nemotron-format folder or a Qwen2-type state dict. Used by `modes` and by tests that need
a second opinion on the engine's decoder.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

# Where each family keeps its decoder and its head.
_PREFIXES = ("encoder.", "model.")
_HEADS = ("diffusion_head.weight", "lm_head.weight")
_PEFT_PREFIX = "base_model.model."


@dataclass(frozen=True, slots=True)
class Lora:
    """One low-rank update of a linear layer: scale * up @ down, down (r, in), up (out, r)."""

    down: Tensor
    up: Tensor
    scale: float


@dataclass(frozen=True, slots=True)
class Network:
    """weights: fp32, named without the family's prefix (``layers.0.self_attn.q_proj.weight``,
    ``embed_tokens.weight``, ``norm.weight``, ``head.weight``). config: the raw config.json.
    lora: by linear layer, e.g. ``layers.0.self_attn.o_proj``."""

    config: dict[str, Any]
    weights: dict[str, Tensor]
    lora: dict[str, Lora] = field(default_factory=dict)


def load(folder: Path) -> Network:
    """A checkpoint folder with a single model.safetensors, and its drafting LoRA when present."""
    config = json.loads((folder / "config.json").read_text())
    adapter = folder / "linear_spec_lora"
    lora: dict[str, Lora] = {}
    if adapter.is_dir():
        settings = json.loads((adapter / "adapter_config.json").read_text())
        scale = settings["lora_alpha"] / settings["r"]
        lora = named_lora(load_file(adapter / "adapter_model.safetensors"), scale)
    return from_state_dict(load_file(folder / "model.safetensors"), config, lora)


def from_state_dict(
    state: Mapping[str, Tensor], config: dict[str, Any], lora: dict[str, Lora] | None = None
) -> Network:
    """A network of the tensors of either family; a tied head is taken from the embedding."""
    weights: dict[str, Tensor] = {}
    for name, tensor in state.items():
        stripped = next((name[len(p) :] for p in _PREFIXES if name.startswith(p)), name)
        weights["head.weight" if name in _HEADS else stripped] = tensor.detach().float()
    weights.setdefault("head.weight", weights["embed_tokens.weight"])
    return Network(config, weights, lora or {})


def named_lora(tensors: Mapping[str, Tensor], scale: float) -> dict[str, Lora]:
    """LoRA by layer name from PEFT's ``base_model.model.<layer>.lora_{A,B}.weight`` keys."""
    found: dict[str, Lora] = {}
    for key, down in tensors.items():
        if not key.endswith(".lora_A.weight"):
            continue
        layer = key.removeprefix(_PEFT_PREFIX).removesuffix(".lora_A.weight")
        layer = next((layer[len(p) :] for p in _PREFIXES if layer.startswith(p)), layer)
        up = tensors[key.replace("lora_A", "lora_B")]
        found[layer] = Lora(down.detach().float(), up.detach().float(), scale)
    return found


def inverse_frequencies(config: Mapping[str, Any]) -> Tensor:
    """(head_dim / 2,) rotary frequencies in radians per position; YaRN (arXiv 2309.00071) where
    ``rope_parameters`` says so. With mscale = mscale_all_dim cos and sin are not scaled."""
    rope = config.get("rope_parameters") or {}
    theta = float(rope["rope_theta"] if "rope_theta" in rope else config["rope_theta"])
    dim = _head_dim(config)
    plain = torch.tensor([theta ** (-2 * i / dim) for i in range(dim // 2)])
    if rope.get("rope_type", "default") != "yarn":
        return plain

    def dimension_of(turns: float) -> float:
        """Index at which a frequency makes `turns` turns over the original context."""
        length = rope["original_max_position_embeddings"]
        return dim * math.log(length / (turns * 2 * math.pi)) / (2 * math.log(theta))

    low = max(math.floor(dimension_of(rope["beta_fast"])), 0)
    high = min(math.ceil(dimension_of(rope["beta_slow"])), dim - 1)
    steps = [min(max((i - low) / ((high - low) or 0.001), 0.0), 1.0) for i in range(dim // 2)]
    share_interpolated = torch.tensor(steps)
    slowed = plain / float(rope["factor"])
    return plain * (1 - share_interpolated) + slowed * share_interpolated


def query_scale(config: Mapping[str, Any], positions: Tensor) -> Tensor:
    """(T,) factor on q after rotation: 1 + beta * ln(1 + floor(position / original length))."""
    rope = config.get("rope_parameters") or {}
    beta = rope.get("llama_4_scaling_beta") or 0.0
    if not beta:
        return torch.ones(positions.shape)
    original = rope["original_max_position_embeddings"]
    return 1 + beta * torch.log(1 + torch.floor(positions.float() / original))


def forward(
    network: Network,
    tokens: Tensor,
    positions: Tensor,
    mask: Tensor,
    lora_rows: Tensor | None = None,
) -> Tensor:
    """fp32 logits (T, vocab) of `tokens` (T,) at `positions` (T,).

    mask: bool (T, T), True where the row's token may see the column's. lora_rows: bool (T,), the
    rows on which the adapter is on (None = nowhere).
    """
    config = network.config
    rows = None if lora_rows is None or not network.lora else lora_rows
    x = network.weights["embed_tokens.weight"][tokens]
    for index in range(config["num_hidden_layers"]):
        name = f"layers.{index}"
        normed = _rms_norm(network, f"{name}.input_layernorm", x)
        x = x + _attention(network, f"{name}.self_attn", normed, positions, mask, rows)
        normed = _rms_norm(network, f"{name}.post_attention_layernorm", x)
        gate = _linear(network, f"{name}.mlp.gate_proj", normed, rows)
        up = _linear(network, f"{name}.mlp.up_proj", normed, rows)
        inner = gate * torch.sigmoid(gate) * up
        x = x + _linear(network, f"{name}.mlp.down_proj", inner, rows)
    return _rms_norm(network, "norm", x) @ network.weights["head.weight"].T


def _head_dim(config: Mapping[str, Any]) -> int:
    own = config.get("head_dim")
    return int(own or config["hidden_size"] // config["num_attention_heads"])


def _rms_norm(network: Network, name: str, x: Tensor) -> Tensor:
    mean_square = (x * x).mean(-1, keepdim=True)
    scaled = x / torch.sqrt(mean_square + network.config["rms_norm_eps"])
    return scaled * network.weights[f"{name}.weight"]


def _linear(network: Network, name: str, x: Tensor, lora_rows: Tensor | None) -> Tensor:
    out = x @ network.weights[f"{name}.weight"].T
    if f"{name}.bias" in network.weights:
        out = out + network.weights[f"{name}.bias"]
    if lora_rows is not None and name in network.lora:
        lora = network.lora[name]
        update = lora.scale * ((x @ lora.down.T) @ lora.up.T)
        out = out + torch.where(lora_rows[:, None], update, torch.zeros(()))
    return out


def _rotate(x: Tensor, angles: Tensor) -> Tensor:
    """x (T, heads, dim), angles (T, dim / 2); halves, not pairs, are rotated together."""
    half = x.shape[-1] // 2
    first, second = x[..., :half], x[..., half:]
    cos, sin = angles.cos()[:, None], angles.sin()[:, None]
    return torch.cat((first * cos - second * sin, second * cos + first * sin), -1)


def _attention(
    network: Network,
    name: str,
    x: Tensor,
    positions: Tensor,
    mask: Tensor,
    lora_rows: Tensor | None,
) -> Tensor:
    config, T = network.config, x.shape[0]
    num_heads, num_kv = config["num_attention_heads"], config["num_key_value_heads"]
    dim = _head_dim(config)
    angles = positions.float()[:, None] * inverse_frequencies(config)
    q = _rotate(_linear(network, f"{name}.q_proj", x, lora_rows).view(T, num_heads, dim), angles)
    q = q * query_scale(config, positions)[:, None, None]
    k = _rotate(_linear(network, f"{name}.k_proj", x, lora_rows).view(T, num_kv, dim), angles)
    v = _linear(network, f"{name}.v_proj", x, lora_rows).view(T, num_kv, dim)
    mixed = []
    for head in range(num_heads):
        shared = head // (num_heads // num_kv)
        scores = (q[:, head] @ k[:, shared].T) / math.sqrt(dim)
        shares = scores.masked_fill(~mask, float("-inf")).softmax(-1)
        mixed.append(shares @ v[:, shared])
    return _linear(network, f"{name}.o_proj", torch.cat(mixed, -1), lora_rows)
