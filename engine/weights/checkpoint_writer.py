"""Writes a checkpoint folder in its family's published form, as `open_checkpoint` reads it.

Nemotron's form after the released nvidia/Nemotron-Labs-Diffusion-* (``encoder.`` and
``diffusion_head``), Qwen2's after Qwen/Qwen2.5-Coder-*, with our own ``nemodiff`` object inside
config.json for what an autoregressive family has no words for.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from engine.models.config import ModelConfig
from engine.weights.adapters import LoraAdapter, write_adapter
from engine.weights.checkpoint import HEAD, SINGLE_FILE, expected_shapes
from engine.weights.errors import WeightsError

CONFIG_FILE = "config.json"
_TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json")
_MASK_ADAPTER = "diffusion_adapter"


def write_checkpoint(
    folder: Path,
    config: ModelConfig,
    tensors: Mapping[str, torch.Tensor],
    *,
    tokenizer_folder: Path,
    mask_embedding: torch.Tensor | None = None,
    dtype: torch.dtype = torch.bfloat16,
) -> None:
    """Write config.json, model.safetensors and the tokenizer into `folder` (made if absent).

    tensors: by canonical name, exactly those of `expected_shapes`; stored as `dtype`.
    mask_embedding (hidden,): what a mask's embedding becomes; for Nemotron it is the mask's row of
    the embedding anyway, for Qwen2 it goes into a ``diffusion_adapter`` folder without pairs. Each
    file appears by a rename, config.json last. Raises WeightsError.
    """
    _check(config, tensors)
    stored = dict(tensors)
    folder.mkdir(parents=True, exist_ok=True)
    if mask_embedding is not None and config.family == "nemotron_labs_diffusion":
        embedding = stored["embed_tokens.weight"].detach().to("cpu", dtype, copy=True)
        embedding[config.mask_token_id] = mask_embedding.detach().to(embedding)
        stored["embed_tokens.weight"] = embedding
    elif mask_embedding is not None:
        plain = mask_embedding.detach().to("cpu", dtype)
        write_adapter(folder / _MASK_ADAPTER, LoraAdapter(1, 1.0, {}, plain))
    body = {
        _published_name(config, name): tensor.detach().to("cpu", dtype).contiguous()
        for name, tensor in stored.items()
    }
    unfinished = folder / f"{SINGLE_FILE}.tmp"
    save_file(body, unfinished, metadata={"format": "pt"})
    os.replace(unfinished, folder / SINGLE_FILE)
    for name in _TOKENIZER_FILES:
        _copy(tokenizer_folder / name, folder / name)
    unfinished = folder / f"{CONFIG_FILE}.tmp"
    unfinished.write_text(json.dumps(config_json(config, dtype), indent=2) + "\n", encoding="utf-8")
    os.replace(unfinished, folder / CONFIG_FILE)


def config_json(config: ModelConfig, dtype: torch.dtype = torch.bfloat16) -> dict[str, Any]:
    """The config.json that `model_config_from_dict` turns into `config` again."""
    raw: dict[str, Any] = {
        "dtype": str(dtype).removeprefix("torch."),
        "vocab_size": config.vocab_size,
        "hidden_size": config.hidden_size,
        "intermediate_size": config.intermediate_size,
        "num_hidden_layers": config.num_layers,
        "num_attention_heads": config.num_heads,
        "num_key_value_heads": config.num_kv_heads,
        "head_dim": config.head_dim,
        "hidden_act": "silu",
        "rms_norm_eps": config.norm_eps,
        "max_position_embeddings": config.max_positions,
        "tie_word_embeddings": config.tied_head,
        "bos_token_id": config.bos_token_id,
        "eos_token_id": list(config.eos_token_ids),
    }
    return raw | (
        _nemotron(config) if config.family == "nemotron_labs_diffusion" else _qwen2(config)
    )


def _nemotron(config: ModelConfig) -> dict[str, Any]:
    rope: dict[str, Any] = {"rope_type": "default", "rope_theta": config.rope_theta}
    if config.yarn is not None:
        rope = {
            "rope_type": "yarn",
            "rope_theta": config.rope_theta,
            "factor": config.yarn.factor,
            "original_max_position_embeddings": config.yarn.original_max_positions,
            "beta_fast": config.yarn.beta_fast,
            "beta_slow": config.yarn.beta_slow,
            "mscale": config.yarn.mscale,
            "mscale_all_dim": config.yarn.mscale_all_dim,
            "llama_4_scaling_beta": config.query_scale_beta,
        }
    return {
        "architectures": ["NemotronLabsDiffusionModel"],
        "model_type": config.family,
        "attention_bias": False,
        "mlp_bias": False,
        "sliding_window": None,
        "mask_token_id": config.mask_token_id,
        "block_size": config.block_size,
        # Saved so by the released checkpoints, whatever paradigm they were trained in.
        "dlm_paradigm": "bidirectional",
        "rope_parameters": rope,
    }


def _qwen2(config: ModelConfig) -> dict[str, Any]:
    fim = config.fim
    own: dict[str, Any] = {
        "alignment": config.alignment,
        "adapter_scope": config.adapter_scope,
        "mask_token_id": config.mask_token_id,
        "eos_token_ids": list(config.eos_token_ids),
        "block_size": config.block_size,
        # Said in either case: a large vocabulary without a word on them is taken for Qwen's own.
        "fim_token_ids": fim is not None
        and {"prefix": fim.prefix, "suffix": fim.suffix, "middle": fim.middle},
    }
    return {
        "architectures": ["Qwen2ForCausalLM"],
        "model_type": config.family,
        "use_sliding_window": False,
        "rope_theta": config.rope_theta,
        "nemodiff": own,
    }


def _published_name(config: ModelConfig, name: str) -> str:
    is_nemotron = config.family == "nemotron_labs_diffusion"
    if name == HEAD:
        return "diffusion_head.weight" if is_nemotron else name
    return f"{'encoder' if is_nemotron else 'model'}.{name}"


def _check(config: ModelConfig, tensors: Mapping[str, torch.Tensor]) -> None:
    expected = expected_shapes(config)
    for name in sorted(expected.keys() ^ tensors.keys()):
        problem = "missing" if name in expected else "surplus"
        raise WeightsError(f"The checkpoint cannot be written: tensor {name} is {problem}.")
    for name, shape in expected.items():
        if tuple(tensors[name].shape) != shape:
            raise WeightsError(
                f"The checkpoint cannot be written: tensor {name} has shape "
                f"{list(tensors[name].shape)}, but the config asks for {list(shape)}."
            )


def _copy(source: Path, target: Path) -> None:
    if source.is_file() and source.resolve() != target.resolve():
        shutil.copyfile(source, target)
