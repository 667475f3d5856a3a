"""A random checkpoint whose layers all fit the int8 kernels, and one whose layers do not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from engine.config import Weights
from engine.device import choose_device
from engine.models.decoder import Decoder
from engine.models.load import LoadedModel, load_model
from tests.models.checkpoints import QWEN_CONFIG

MASK = 100
_PROJECTIONS = ("q", "k", "v", "o", "gate", "up", "down")


def _shapes(config: dict[str, Any]) -> dict[str, tuple[int, int]]:
    hidden, ffn, num_heads = (
        config[name] for name in ("hidden_size", "intermediate_size", "num_attention_heads")
    )
    kv = hidden // num_heads * config["num_key_value_heads"]
    widths = {"q": (hidden, hidden), "k": (kv, hidden), "v": (kv, hidden), "o": (hidden, hidden)}
    return widths | {"gate": (ffn, hidden), "up": (ffn, hidden), "down": (hidden, ffn)}


def _module(projection: str) -> str:
    return f"{'self_attn' if projection in 'qkvo' else 'mlp'}.{projection}_proj"


def write_model(folder: Path, *, intermediate_size: int = 192) -> Path:
    """Two query heads of 64 and one of keys and values; intermediate_size: fits if divisible by
    64."""
    config = QWEN_CONFIG | {
        "hidden_size": 128,
        "intermediate_size": intermediate_size,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
    }
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int, scale: float = 0.08) -> torch.Tensor:
        return torch.randn(*shape, generator=generator) * scale

    tensors = {"model.embed_tokens.weight": draw(640, 128, scale=0.5)}
    for layer in range(3):
        at = f"model.layers.{layer}"
        for projection, shape in _shapes(config).items():
            tensors[f"{at}.{_module(projection)}.weight"] = draw(*shape)
            if projection in "qkv":
                tensors[f"{at}.{_module(projection)}.bias"] = draw(shape[0])
        for name in ("input", "post_attention"):
            tensors[f"{at}.{name}_layernorm.weight"] = 1 + draw(128)
    tensors["model.norm.weight"] = 1 + draw(128)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    save_file(tensors, folder / "model.safetensors")
    return folder


def write_adapter(folder: Path, model: Path, rank: int = 4) -> Path:
    """A PEFT folder over every linear layer of `model`, with a mask embedding."""
    config = json.loads((model / "config.json").read_text())
    generator = torch.Generator().manual_seed(3)
    tensors = {"mask_embedding": torch.randn(128, generator=generator) * 0.5}
    for layer in range(3):
        for projection, (out, width) in _shapes(config).items():
            at = f"base_model.model.model.layers.{layer}.{_module(projection)}"
            for name, shape in (("lora_A", (rank, width)), ("lora_B", (out, rank))):
                tensors[f"{at}.{name}.weight"] = torch.randn(shape, generator=generator) * 0.1
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / "adapter_model.safetensors")
    facts = {"peft_type": "LORA", "r": rank, "lora_alpha": 2 * rank, "bias": "none"}
    facts["target_modules"] = [f"{projection}_proj" for projection in _PROJECTIONS]
    (folder / "adapter_config.json").write_text(json.dumps(facts))
    return folder


def load(
    folder: Path, weights: Weights = "int8", dtype: str = "float32", **adapters: Path
) -> LoadedModel:
    choice = choose_device("cpu", dtype, 1, weights)
    return load_model(folder, choice, **adapters)  # type: ignore[arg-type]


def load_decoder(folder: Path, **options: Any) -> Decoder:
    return load(folder, **options).decoder
