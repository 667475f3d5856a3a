"""Decoders of the families' exact architectures with random weights, for sizes that are not here.

How fast a pass is does not depend on what the weights say. Numbers are drawn, never zeros, as some
chips are quicker (and draw less power) on zeros.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import torch

from engine.bench.costs import body_weights, head_weights, kv_bytes_per_token
from engine.device import DeviceChoice
from engine.errors import EngineError
from engine.models.config import ModelConfig, model_config_from_dict
from engine.models.decoder import Decoder, Layer
from engine.models.linear import Linear, LowRank
from engine.models.rotary import RotaryTable
from engine.models.storage import HEAD, PLAIN_NOTE, Packer, Storage, choose_storage

_Draw = Callable[..., torch.Tensor]
_POOL_VALUES = 2**22
# Torch, its buffers and the activations of a pass.
_REST_BYTES = 1.5e9


@dataclass(frozen=True, slots=True)
class Shape:
    """config: of the published ``config.json``. draft_rank: of the low-rank pairs of the draft
    adapter; drafts_everywhere: they hang on all linear layers, not on the output projection only.
    """

    config: dict[str, Any]
    draft_rank: int
    drafts_everywhere: bool


def _qwen(hidden: int, ffn: int, layers: int, heads: int) -> Shape:
    config = {
        "model_type": "qwen2",
        "vocab_size": 151936,
        "hidden_size": hidden,
        "intermediate_size": ffn,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": 2,
        "max_position_embeddings": 32768,
        "rms_norm_eps": 1e-6,
        "rope_theta": 1e6,
        "tie_word_embeddings": True,
        "nemodiff": {"block_size": 8},
    }
    return Shape(config, draft_rank=32, drafts_everywhere=True)


def _nemotron(hidden: int, ffn: int, layers: int, theta: float) -> Shape:
    config = {
        "model_type": "nemotron_labs_diffusion",
        "vocab_size": 131072,
        "hidden_size": hidden,
        "intermediate_size": ffn,
        "num_hidden_layers": layers,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "max_position_embeddings": 262144,
        "rms_norm_eps": 1e-5,
        "mask_token_id": 100,
        "block_size": 32,
        "rope_parameters": {
            "rope_type": "yarn",
            "rope_theta": theta,
            "factor": 16.0,
            "original_max_position_embeddings": 16384,
            "llama_4_scaling_beta": 0.1,
        },
    }
    return Shape(config, draft_rank=128, drafts_everywhere=False)


SHAPES = {
    "default": _qwen(896, 4864, 24, 14),
    "1.5b": _qwen(1536, 8960, 28, 12),
    "3b": _nemotron(3072, 9216, 26, 1e6),
    "8b": _nemotron(4096, 14336, 34, 1e6),
    "14b": _nemotron(5120, 16384, 40, 1e9),
}


def shape_config(name: str) -> ModelConfig:
    """Raises EngineError for a name that is not known."""
    if name not in SHAPES:
        raise EngineError(f"Shape {name!r} is not known; use one of {', '.join(SHAPES)}.")
    return model_config_from_dict(SHAPES[name].config)


def needed_bytes(config: ModelConfig, bytes_per_value: float, cached_tokens: int) -> float:
    """Of a decoder with keys and values of `cached_tokens`; embedding and head are two tables,
    even where they are tied, since the head is packed."""
    values = body_weights(config) + 2 * head_weights(config)
    kv = kv_bytes_per_token(config, bytes_per_value) * cached_tokens
    return values * bytes_per_value + kv


def check_memory(what: str, num_bytes: float, device: torch.device) -> None:
    """Raises EngineError when `num_bytes`, and some room, are not free on `device`."""
    if device.type == "cuda":
        free = float(torch.cuda.mem_get_info(device)[0])
    else:
        free = float(psutil.virtual_memory().available)
    if num_bytes + _REST_BYTES > free:
        raise EngineError(
            f"{what} would take {(num_bytes + _REST_BYTES) / 1e9:.1f} GB, but only "
            f"{free / 1e9:.1f} GB are free on {device}; choose a smaller shape, fewer paths or "
            "shorter cached lengths."
        )


def random_decoder(
    name: str, choice: DeviceChoice, seed: int = 0, *, pack: bool = True
) -> tuple[Decoder, str]:
    """A decoder of shape `name` with a draft adapter, all weights drawn, and a note on how they
    are stored. pack: as in load_model. Raises EngineError."""
    config = shape_config(name)
    storage = Storage("plain", PLAIN_NOTE)
    if pack:
        storage = choose_storage(choice, config, lambda phase, fraction: None)
    # Not the folder of an installed model: nothing that is packed is kept on disk.
    packer = Packer(storage, choice, Path("random weights"), None)
    return _built(config, SHAPES[name], choice, packer, seed), storage.note


@torch.inference_mode()
def _built(
    config: ModelConfig, shape: Shape, choice: DeviceChoice, packer: Packer, seed: int
) -> Decoder:
    draw, hidden = _drawer(choice, seed), config.hidden_size
    embedding = draw(config.vocab_size, hidden)
    layers = [_layer(config, shape, packer, draw) for _ in range(config.num_layers)]
    head = embedding if config.tied_head else draw(config.vocab_size, hidden)
    norm = 1 + draw(hidden)
    return Decoder(
        config=config,
        embedding=embedding,
        layers=layers,
        norm=norm,
        head=packer.linear(HEAD, [head], None),
        mask_embedding=draw(hidden),
        rotary=RotaryTable(config, choice.device, choice.dtype),
        device=choice.device,
        dtype=choice.dtype,
        has_draft_adapter=True,
        native=packer.native(config, layers, norm, choice.dtype),
    )


def _layer(config: ModelConfig, shape: Shape, packer: Packer, draw: _Draw) -> Layer:
    def linear(width_out: int, width_in: int, num_parts: int, *, is_output: bool = False) -> Linear:
        bias = draw(width_out) if num_parts == 3 and config.qkv_bias else None
        made = packer.linear("drawn", [draw(width_out, width_in)], bias)
        if shape.drafts_everywhere or is_output:
            rank = shape.draft_rank * num_parts
            made.adapter = LowRank(draw(rank, width_in), draw(width_out, rank))
        return made

    hidden, attention = config.hidden_size, config.num_heads * config.head_dim
    kv = config.num_kv_heads * config.head_dim
    return Layer(
        input_norm=1 + draw(hidden),
        qkv=linear(attention + 2 * kv, hidden, 3),
        out=linear(hidden, attention, 1, is_output=True),
        post_norm=1 + draw(hidden),
        gate_up=linear(2 * config.intermediate_size, hidden, 2),
        down=linear(hidden, config.intermediate_size, 1),
    )


def _drawer(choice: DeviceChoice, seed: int) -> _Draw:
    """Tensors cut from a pool of normal numbers, each from another place: drawing billions of
    them one by one would take minutes on a CPU."""
    generator = torch.Generator(device=choice.device).manual_seed(seed)
    pool = torch.randn(_POOL_VALUES, generator=generator, device=choice.device) * 0.02
    pool = pool.to(choice.dtype)
    offset = 0

    def draw(*shape: int) -> torch.Tensor:
        nonlocal offset
        num_values = int(torch.Size(shape).numel())
        offset = (offset + 7919) % _POOL_VALUES
        times = -(-(num_values + offset) // _POOL_VALUES)
        return pool.repeat(times)[offset : offset + num_values].clone().view(shape)

    return draw
