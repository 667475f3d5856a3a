"""Tiny checkpoints, GGUF files and wheels (a few KB each) for the tests of this folder."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from safetensors.torch import save_file

from engine.models.config import ModelConfig, model_config_from_dict
from engine.weights.catalog import CatalogEntry, MirrorParts
from engine.weights.checkpoint import expected_shapes

QWEN: dict[str, Any] = {
    "model_type": "qwen2",
    "vocab_size": 40,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 24,
    "max_position_embeddings": 64,
    "rms_norm_eps": 1e-6,
    "rope_theta": 10000.0,
    "tie_word_embeddings": True,
    "eos_token_id": 3,
}

# head_dim 6 on purpose: attention is 24 wide while hidden_size is 16, as in the released 3B.
NEMOTRON: dict[str, Any] = {
    "model_type": "nemotron_labs_diffusion",
    "vocab_size": 128,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 6,
    "intermediate_size": 24,
    "max_position_embeddings": 64,
    "rms_norm_eps": 1e-5,
    "tie_word_embeddings": False,
    "mask_token_id": 100,
    "rope_parameters": {
        "rope_type": "yarn",
        "rope_theta": 1e6,
        "factor": 4.0,
        "original_max_position_embeddings": 16,
    },
}


def random_tensors(raw: dict[str, Any]) -> dict[str, torch.Tensor]:
    """Canonical tensors for a parsed config.json."""
    generator = torch.Generator().manual_seed(0)
    shapes = expected_shapes(config_of(raw))
    return {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}


def config_of(raw: dict[str, Any]) -> ModelConfig:
    return model_config_from_dict(raw)


def on_disk_name(raw: dict[str, Any], name: str) -> str:
    """The released name of a canonical tensor."""
    if raw["model_type"] == "qwen2":
        return name if name == "lm_head.weight" else f"model.{name}"
    return "diffusion_head.weight" if name == "lm_head.weight" else f"encoder.{name}"


def write_checkpoint(
    folder: Path, raw: dict[str, Any], tensors: dict[str, torch.Tensor] | None = None
) -> dict[str, torch.Tensor]:
    """A checkpoint as released (on-disk names); `tensors` replaces what would be written."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(raw))
    canonical = random_tensors(raw)
    if tensors is None:
        tensors = {on_disk_name(raw, name): tensor for name, tensor in canonical.items()}
    save_file(tensors, folder / "model.safetensors")
    return canonical


def byte_alphabet() -> list[str]:
    """The 256 printable stand-ins of byte-level BPE, in byte order."""
    kept = [*range(33, 127), *range(161, 173), *range(174, 256)]
    extra = iter(range(256, 512))
    return [chr(byte) if byte in kept else chr(next(extra)) for byte in range(256)]


MERGES = ["d e", "de f", "Ġ def", "r e", "1 2"]
SPECIALS = [
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<tool_call>",
    "<|fim_prefix|>",
    "<|fim_middle|>",
    "<|fim_suffix|>",
]
NUM_UNUSED = 5


def gguf_tokens() -> tuple[list[str], list[int]]:
    """Tokens and their GGUF types: bytes, merges, specials, unused rows."""
    merged = [line.replace(" ", "") for line in MERGES]
    ordinary = byte_alphabet() + merged
    types = [1] * len(ordinary) + [4 if "tool" in name else 3 for name in SPECIALS]
    tokens = ordinary + SPECIALS + [f"[PAD{i}]" for i in range(NUM_UNUSED)]
    return tokens, types + [5] * NUM_UNUSED


HIDDEN, INNER, LAYERS = 64, 96, 2
_Q8 = gguf.GGMLQuantizationType.Q8_0
_Q5 = gguf.GGMLQuantizationType.Q5_0


def gguf_tensors() -> dict[str, np.ndarray]:
    """float32 tensors of a tiny qwen2 GGUF by GGUF name, without output.weight."""
    random = np.random.default_rng(0)
    shapes: dict[str, tuple[int, ...]] = {
        "token_embd.weight": (len(gguf_tokens()[0]), HIDDEN),
        "output_norm.weight": (HIDDEN,),
    }
    for layer in range(LAYERS):
        block = {
            "attn_norm.weight": (HIDDEN,),
            "ffn_norm.weight": (HIDDEN,),
            "attn_q.weight": (HIDDEN, HIDDEN),
            "attn_q.bias": (HIDDEN,),
            "attn_k.weight": (32, HIDDEN),
            "attn_k.bias": (32,),
            "attn_v.weight": (32, HIDDEN),
            "attn_v.bias": (32,),
            "attn_output.weight": (HIDDEN, HIDDEN),
            "ffn_gate.weight": (INNER, HIDDEN),
            "ffn_up.weight": (INNER, HIDDEN),
            "ffn_down.weight": (HIDDEN, INNER),
        }
        shapes |= {f"blk.{layer}.{name}": shape for name, shape in block.items()}
    return {name: random.standard_normal(s).astype(np.float32) for name, s in shapes.items()}


def write_gguf(
    path: Path,
    *,
    tensors: dict[str, np.ndarray] | None = None,
    architecture: str = "qwen2",
    tokenizer: str = "qwen2",
    head_copy: bool = False,
    scaling: str | None = None,
) -> dict[str, np.ndarray]:
    """A tiny qwen2 GGUF: linear layers and the head Q8_0, embedding Q5_0, the rest float32.

    Returns the values that a correct reader finds, by GGUF name.
    """
    tensors = gguf_tensors() if tensors is None else tensors
    if head_copy:
        tensors = {"output.weight": tensors["token_embd.weight"], **tensors}
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_block_count(LAYERS)
    writer.add_context_length(128)
    writer.add_embedding_length(HIDDEN)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(4)
    writer.add_head_count_kv(2)
    writer.add_rope_freq_base(1e6)
    writer.add_layer_norm_rms_eps(1e-6)
    if scaling is not None:
        writer.add_rope_scaling_type(gguf.RopeScalingType(scaling))
    _add_tokenizer(writer, tokenizer)
    expected: dict[str, np.ndarray] = {}
    for name, values in tensors.items():
        if values.ndim == 1:
            writer.add_tensor(name, values)
            expected[name] = values
            continue
        kind = _Q5 if name == "token_embd.weight" else _Q8
        raw = gguf.quants.quantize(values, kind)
        writer.add_tensor(name, raw, raw_dtype=kind)
        expected[name] = gguf.quants.dequantize(raw, kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return expected


def _add_tokenizer(writer: gguf.GGUFWriter, pre: str) -> None:
    tokens, types = gguf_tokens()
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_merges(MERGES)


def write_wheel(folder: Path, distribution: str, version: str, members: dict[str, bytes]) -> Path:
    """A wheel that pip accepts, holding `members`."""
    folder.mkdir(parents=True, exist_ok=True)
    stem = f"{distribution.replace('-', '_')}-{version}"
    info = f"{stem}.dist-info"
    path = folder / f"{stem}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
        archive.writestr(
            f"{info}/METADATA",
            f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n",
        )
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", "")
    return path


def write_parts(folder: Path, entry: CatalogEntry, data: bytes) -> list[Path]:
    """`data` cut into the wheels of `entry`'s mirror."""
    mirror = entry.mirror
    assert mirror is not None
    step = -(-len(data) // mirror.num_parts)
    return [
        write_wheel(
            folder,
            mirror.distribution.format(part),
            mirror.version,
            {
                mirror.member_name(part): data[(part - 1) * step : part * step],
                # Fails loudly, should anything ever import the wheel.
                f"tiny_part{part}/__init__.py": b"raise SystemExit('imported')",
            },
        )
        for part in range(1, mirror.num_parts + 1)
    ]


def tiny_entry(num_bytes: int, sha256: str, *, num_parts: int = 11) -> CatalogEntry:
    """A catalogue entry called ``tiny``; eleven parts tell numeric order from alphabetic."""
    return CatalogEntry(
        name="tiny",
        title="Tiny",
        licence="Apache-2.0",
        hub_repository="nobody/tiny",
        hub_revision="main",
        file_name="tiny.gguf",
        num_bytes=num_bytes,
        sha256=sha256,
        mirror=MirrorParts(
            distribution="tiny-part{0}",
            version="1.0",
            member="tiny_part{0}/data/part{0:02d}.bin",
            num_parts=num_parts,
        ),
    )
