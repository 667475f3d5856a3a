"""Turns a qwen2 GGUF file into the store's own form: bf16 safetensors, tokenizer and config.

Called by `engine.weights.pull` and `engine.weights.resolve` inside an atomic installation. Works
in slices of a few MB, so memory stays small whatever the model's size.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from engine.models.config import ConfigError, ModelConfig, model_config_from_dict
from engine.weights.checkpoint import HEAD, SINGLE_FILE, expected_shapes
from engine.weights.errors import WeightsError
from engine.weights.gguf_file import GgufFile, GgufTensor, read_gguf
from engine.weights.gguf_tokenizer import GgufTokenizer, build_tokenizer
from engine.weights.progress import Report, hash_file, silent
from engine.weights.safetensors_file import Bf16Writer
from engine.weights.store import FORM_VERSION, IMPORT_FILE

_SLICE_VALUES = 4 * 2**20
_BLOCK_SIZE = 8
# Two quantisations of one matrix differ by a few per cent, unrelated ones by more than 100 %.
_TIED_MAX_DIFFERENCE = 0.25

_TOP_NAMES = {
    "token_embd.weight": "embed_tokens.weight",
    "output_norm.weight": "norm.weight",
    "output.weight": HEAD,
}
_LAYER_NAMES = {
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
_LAYER = re.compile(r"^blk\.(\d+)\.(\w+)\.(weight|bias)$")


def import_gguf(
    gguf_path: Path, destination: Path, *, source: Mapping[str, Any], report: Report = silent
) -> None:
    """Write config.json, model.safetensors (bf16), tokenizer.json, then import.json.

    destination: an existing folder, empty. source: recorded in import.json (sha256 of the GGUF
    file, where it came from). Raises WeightsError when the file is not a usable qwen2 model.
    """
    file = read_gguf(gguf_path)
    named = _canonical(file)
    tokenizer = build_tokenizer(file.metadata, named["embed_tokens.weight"].shape[0])
    tied = _is_tied(file, named)
    raw_config = _config(file, named, tokenizer, tied=tied)
    try:
        config = model_config_from_dict(raw_config)
    except ConfigError as error:
        raise WeightsError(f"{gguf_path} cannot be used: {error}") from None
    if tied and HEAD in named:
        # The head's copy is stored at the higher precision; it serves as the embedding, too.
        named["embed_tokens.weight"] = named.pop(HEAD)
    sha256 = _write_tensors(file, named, config, destination / SINGLE_FILE, report)
    tokenizer.tokenizer.save(str(destination / "tokenizer.json"), pretty=False)
    (destination / "config.json").write_text(json.dumps(raw_config, indent=2), encoding="utf-8")
    hashes = {
        "config.json": hash_file(destination / "config.json"),
        SINGLE_FILE: sha256,
        "tokenizer.json": hash_file(destination / "tokenizer.json"),
    }
    note = {
        "form": FORM_VERSION,
        "source": dict(source),
        "files": {
            name: {"sha256": value, "num_bytes": (destination / name).stat().st_size}
            for name, value in hashes.items()
        },
    }
    (destination / IMPORT_FILE).write_text(json.dumps(note, indent=2), encoding="utf-8")


def _canonical(file: GgufFile) -> dict[str, GgufTensor]:
    """The file's tensors by canonical name."""
    architecture = file.metadata.get("general.architecture")
    if architecture != "qwen2":
        raise WeightsError(
            f"{file.path} holds a model of architecture {architecture!r}; only 'qwen2' can be read."
        )
    named: dict[str, GgufTensor] = {}
    for name, tensor in file.tensors.items():
        match = _LAYER.match(name)
        if name in _TOP_NAMES:
            named[_TOP_NAMES[name]] = tensor
        elif match and match[2] in _LAYER_NAMES:
            named[f"layers.{match[1]}.{_LAYER_NAMES[match[2]]}.{match[3]}"] = tensor
        else:
            raise WeightsError(f"{file.path}: tensor {name} is not known in a qwen2 model.")
    if "embed_tokens.weight" not in named:
        raise WeightsError(f"{file.path}: tensor token_embd.weight is missing.")
    return named


def _is_tied(file: GgufFile, named: dict[str, GgufTensor]) -> bool:
    """Whether head and embedding are one matrix, told from evenly spaced rows of both."""
    embedding, head = named["embed_tokens.weight"], named.get(HEAD)
    if head is None:
        return True
    if head.shape != embedding.shape:
        raise WeightsError(f"{file.path}: tensor output.weight has not the embedding's shape.")
    num_rows = embedding.shape[0]
    rows = range(0, num_rows, max(1, num_rows // 64))
    ours = np.concatenate([file.rows(embedding, row, row + 1) for row in rows])
    theirs = np.concatenate([file.rows(head, row, row + 1) for row in rows])
    difference = np.linalg.norm(ours - theirs) / max(1e-30, float(np.linalg.norm(theirs)))
    return bool(difference < _TIED_MAX_DIFFERENCE)


def _config(
    file: GgufFile, named: dict[str, GgufTensor], tokenizer: GgufTokenizer, *, tied: bool
) -> dict[str, Any]:
    """config.json of the store: the publisher's fields and NemoDiff's own object."""
    metadata = file.metadata

    def field(key: str) -> Any:
        if f"qwen2.{key}" not in metadata:
            raise WeightsError(f"{file.path}: metadata qwen2.{key} is missing.")
        return metadata[f"qwen2.{key}"]

    if metadata.get("qwen2.rope.scaling.type", "none") != "none":
        raise WeightsError(f"{file.path} uses RoPE scaling, which is not supported for qwen2.")
    num_heads = field("attention.head_count")
    hidden_size = field("embedding_length")
    return {
        "architectures": ["Qwen2ForCausalLM"],
        "model_type": "qwen2",
        "dtype": "bfloat16",
        "hidden_act": "silu",
        "vocab_size": named["embed_tokens.weight"].shape[0],
        "hidden_size": hidden_size,
        "num_hidden_layers": field("block_count"),
        "num_attention_heads": num_heads,
        "num_key_value_heads": metadata.get("qwen2.attention.head_count_kv", num_heads),
        "head_dim": metadata.get("qwen2.attention.key_length", hidden_size // num_heads),
        "intermediate_size": field("feed_forward_length"),
        "max_position_embeddings": field("context_length"),
        # GGUF stores float32: 1e-6 comes back as 9.99999997e-07.
        "rms_norm_eps": float(f"{field('attention.layer_norm_rms_epsilon'):.6g}"),
        "rope_theta": float(f"{field('rope.freq_base'):.6g}"),
        "tie_word_embeddings": tied,
        "bos_token_id": metadata.get("tokenizer.ggml.bos_token_id"),
        "eos_token_id": metadata.get("tokenizer.ggml.eos_token_id"),
        "nemodiff": _own_fields(file, tokenizer),
    }


def _own_fields(file: GgufFile, tokenizer: GgufTokenizer) -> dict[str, Any]:
    """NemoDiff's own object of config.json, as `engine.models.config` reads it."""
    if tokenizer.first_unused_id is None:
        raise WeightsError(f"{file.path} has no unused vocabulary row for the mask token.")
    return {
        "alignment": "next_position",
        "adapter_scope": "masks",
        "mask_token_id": tokenizer.first_unused_id,
        "block_size": _BLOCK_SIZE,
        "fim_token_ids": tokenizer.fim_ids or None,
        "eos_token_ids": list(tokenizer.added_ids),
    }


def _write_tensors(
    file: GgufFile,
    named: dict[str, GgufTensor],
    config: ModelConfig,
    path: Path,
    report: Report,
) -> str:
    """Dequantise every tensor into the safetensors file at `path`; returns the file's sha256."""
    shapes = expected_shapes(config)
    for name, tensor in named.items():
        if name not in shapes:
            raise WeightsError(f"{file.path}: tensor {tensor.name} is surplus.")
    for name, shape in shapes.items():
        if name not in named:
            raise WeightsError(f"{file.path}: a tensor for {name} is missing.")
        if named[name].shape != shape:
            raise WeightsError(
                f"{file.path}: tensor {named[name].name} has shape {list(named[name].shape)}, "
                f"but the metadata asks for {list(shape)}."
            )
    total = sum(named[name].num_bytes for name in shapes)
    done = 0
    with Bf16Writer(path, shapes) as writer:
        for name, shape in shapes.items():
            tensor = named[name]
            num_rows = shape[0] if len(shape) > 1 else 1
            step = max(1, _SLICE_VALUES // shape[-1])
            for start in range(0, num_rows, step):
                rows = file.rows(tensor, start, min(num_rows, start + step))
                writer.write(torch.from_numpy(rows))
            done += tensor.num_bytes
            report("Unpacking the weights", done / total)
    return writer.sha256
