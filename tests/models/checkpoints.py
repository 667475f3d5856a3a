"""Small random checkpoints in real on-disk formats, for tests of loading and of equality."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from engine.config import EngineConfig
from engine.device import choose_device
from engine.models.decoder import Decoder
from engine.models.load import load_model

TINY = Path(__file__).parent.parent / "tiny_model" / "checkpoint"

QWEN_CONFIG: dict[str, Any] = {
    "model_type": "qwen2",
    "vocab_size": 640,
    "hidden_size": 64,
    "intermediate_size": 160,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 2048,
    "rms_norm_eps": 1e-6,
    "rope_theta": 1e6,
    "tie_word_embeddings": True,
    "eos_token_id": 2,
    "nemodiff": {
        "alignment": "next_position",
        "adapter_scope": "masks",
        "mask_token_id": 100,
        "eos_token_ids": [2, 11],
        "fim_token_ids": {"prefix": 20, "suffix": 21, "middle": 22},
        "block_size": 8,
    },
}


def qwen_tensors(seed: int = 0) -> dict[str, torch.Tensor]:
    """Random tensors under their published names, of the shapes of QWEN_CONFIG."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int, scale: float = 0.08) -> torch.Tensor:
        return torch.randn(*shape, generator=generator) * scale

    hidden, ffn, kv = 64, 160, 32
    tensors = {"model.embed_tokens.weight": draw(640, hidden, scale=0.5)}
    for layer in range(3):
        at = f"model.layers.{layer}"
        for name, rows in (("q", hidden), ("k", kv), ("v", kv)):
            tensors[f"{at}.self_attn.{name}_proj.weight"] = draw(rows, hidden, scale=0.2)
            tensors[f"{at}.self_attn.{name}_proj.bias"] = draw(rows)
        tensors[f"{at}.self_attn.o_proj.weight"] = draw(hidden, hidden)
        for name in ("gate", "up"):
            tensors[f"{at}.mlp.{name}_proj.weight"] = draw(ffn, hidden)
        tensors[f"{at}.mlp.down_proj.weight"] = draw(hidden, ffn)
        for name in ("input", "post_attention"):
            tensors[f"{at}.{name}_layernorm.weight"] = 1 + draw(hidden)
    tensors["model.norm.weight"] = 1 + draw(hidden)
    return tensors


def write_qwen(folder: Path, seed: int = 0) -> Path:
    """A qwen2-type checkpoint with the tiny model's tokenizer."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(QWEN_CONFIG))
    save_file(qwen_tensors(seed), folder / "model.safetensors")
    shutil.copy(TINY / "tokenizer.json", folder / "tokenizer.json")
    return folder


def write_diffusion_adapter(folder: Path, rank: int = 4, seed: int = 3) -> Path:
    """A PEFT-layout adapter over every linear layer of QWEN_CONFIG, with a mask embedding."""
    generator = torch.Generator().manual_seed(seed)
    folder.mkdir(parents=True, exist_ok=True)
    shapes = {
        "self_attn.q_proj": (64, 64),
        "self_attn.k_proj": (64, 32),
        "self_attn.v_proj": (64, 32),
        "self_attn.o_proj": (64, 64),
        "mlp.gate_proj": (64, 160),
        "mlp.up_proj": (64, 160),
        "mlp.down_proj": (160, 64),
    }
    tensors: dict[str, torch.Tensor] = {}
    for layer in range(3):
        for name, (width_in, width_out) in shapes.items():
            at = f"base_model.model.model.layers.{layer}.{name}"
            tensors[f"{at}.lora_A.weight"] = torch.randn(rank, width_in, generator=generator) * 0.1
            tensors[f"{at}.lora_B.weight"] = torch.randn(width_out, rank, generator=generator) * 0.1
    tensors["mask_embedding"] = torch.randn(64, generator=generator) * 0.5
    save_file(tensors, folder / "adapter_model.safetensors")
    config = {
        "peft_type": "LORA",
        "r": rank,
        "lora_alpha": 2 * rank,
        "bias": "none",
        "target_modules": [name.rpartition(".")[2] for name in shapes],
    }
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return folder


def load(folder: Path, dtype: str = "float32", **adapters: Path) -> Decoder:
    config = EngineConfig(model=str(folder), device="cpu", dtype=dtype, num_threads=1)
    choice = choose_device(config.device, config.dtype, config.num_threads)
    return load_model(folder, choice, **adapters).decoder  # type: ignore[arg-type]
