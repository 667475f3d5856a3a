"""ModelConfig: every fact about a checkpoint that the decoder and the decoding modes read.

Built from a checkpoint's ``config.json`` by `read_model_config`; nothing else parses that file.
Sources: the released configs of nvidia/Nemotron-Labs-Diffusion-* and Qwen/Qwen2.5-Coder-*.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from engine.models.config_fields import (
    ConfigError as ConfigError,
)
from engine.models.config_fields import (
    bos,
    count,
    number,
    positive,
    refuse_unsupported,
    theta,
    token_id,
    token_ids,
)

Family = Literal["nemotron_labs_diffusion", "qwen2"]
Alignment = Literal["same_position", "next_position"]
AdapterScope = Literal["block", "masks"]


@dataclass(frozen=True, slots=True)
class YarnScaling:
    """YaRN context extension (arXiv 2309.00071), as in ``rope_parameters`` of the checkpoint."""

    factor: float
    original_max_positions: int
    beta_fast: float = 32.0
    beta_slow: float = 1.0
    mscale: float = 1.0
    mscale_all_dim: float = 1.0


@dataclass(frozen=True, slots=True)
class FimTokens:
    """Ids of the model's own fill-in-the-middle markers (prefix-suffix-middle order)."""

    prefix: int
    suffix: int
    middle: int


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """Shapes and conventions of one checkpoint.

    alignment: which position a *mask* row predicts. ``same_position``: logits at i predict token i
      (Nemotron, LLaDA). ``next_position``: logits at i predict token i + 1 in every mode (the
      adapter over an autoregressive base). Causal rows predict the next token in both.
    adapter_scope: where the draft adapter is active: on the whole ``block`` of a draft forward, or
      at ``masks`` only, in which case visible tokens of a block see only visible tokens at or
      before them and stay exactly the base model's.
    """

    family: Family
    vocab_size: int
    hidden_size: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    intermediate_size: int
    norm_eps: float
    rope_theta: float
    max_positions: int
    yarn: YarnScaling | None
    query_scale_beta: float
    """Llama-4 query scale: q *= 1 + beta * ln(1 + floor(pos / original_max_positions)); 0 = off."""
    qkv_bias: bool
    tied_head: bool
    mask_token_id: int
    eos_token_ids: tuple[int, ...]
    block_size: int
    alignment: Alignment
    adapter_scope: AdapterScope
    fim: FimTokens | None = None
    bos_token_id: int | None = None
    notes: tuple[str, ...] = field(default=())
    """What the user should know about this checkpoint, e.g. that a vision tower is ignored."""


# Qwen2.5-Coder's own markers; only trusted when the vocabulary is large enough to hold them.
_QWEN_FIM = FimTokens(prefix=151659, suffix=151661, middle=151660)
# Any of the 22 special tokens ends a completion: none of them is source text.
_QWEN_EOS = tuple(range(151643, 151665))
# First of the 271 vocabulary rows (151665..151935) that no token uses.
_QWEN_MASK = 151665


_DENSE = {
    "hidden_act": ("silu", None),
    "attention_bias": (False, None),
    "mlp_bias": (False, None),
    "sliding_window": (None,),
}


def read_model_config(path: Path) -> ModelConfig:
    """Parse ``config.json`` at `path` (the file itself). Raises ConfigError with one sentence."""
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path} does not exist: this is not a checkpoint folder.") from None
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ConfigError(f"{path} is not valid JSON ({error}).") from None
    except RecursionError:
        raise ConfigError(f"{path} is not a usable config: it is nested too deeply.") from None
    if not isinstance(raw, dict):
        raise ConfigError(f"{path} must hold a JSON object.")
    return model_config_from_dict(raw)


def model_config_from_dict(raw: dict[str, Any]) -> ModelConfig:
    """ModelConfig of a parsed ``config.json``. Raises ConfigError with one sentence."""
    model_type = raw.get("model_type")
    if raw.get("quantization_config"):
        raise ConfigError(
            "config.json: quantization_config is not supported; use the unquantised checkpoint."
        )
    if model_type == "nemotron_labs_diffusion":
        return _nemotron(raw, notes=())
    if model_type == "nemotron_labs_diffusion_vlm":
        text = raw.get("text_config", {})
        if not isinstance(text, dict):
            raise ConfigError("config.json: text_config must be an object.")
        merged = {**raw, **text}
        note = "The vision tower of this checkpoint is ignored: only its text side is loaded."
        return _nemotron(merged, notes=(note,))
    if model_type == "qwen2":
        return _qwen2(raw)
    raise ConfigError(
        f"config.json: model_type is {model_type!r}; "
        "known are 'nemotron_labs_diffusion', 'nemotron_labs_diffusion_vlm' and 'qwen2'."
    )


def _shapes(raw: dict[str, Any]) -> dict[str, Any]:
    num_heads = count(raw, "num_attention_heads")
    num_kv_heads = count(raw, "num_key_value_heads", num_heads)
    hidden_size = count(raw, "hidden_size")
    if num_heads % num_kv_heads:
        raise ConfigError(
            f"config.json: num_attention_heads ({num_heads}) must be a multiple of "
            f"num_key_value_heads ({num_kv_heads})."
        )
    # Nemotron's attention width differs from hidden_size, so the quotient is only a fall-back.
    head_dim = count(raw, "head_dim", hidden_size // num_heads)
    if head_dim % 2:
        raise ConfigError(f"config.json: head_dim ({head_dim}) must be even for rotary positions.")
    return {
        "vocab_size": count(raw, "vocab_size"),
        "hidden_size": hidden_size,
        "num_layers": count(raw, "num_hidden_layers"),
        "num_heads": num_heads,
        "num_kv_heads": num_kv_heads,
        "head_dim": head_dim,
        "intermediate_size": count(raw, "intermediate_size"),
        "norm_eps": positive(raw, "rms_norm_eps"),
        "max_positions": count(raw, "max_position_embeddings"),
    }


def _check_ids(config: ModelConfig) -> ModelConfig:
    if config.mask_token_id in config.eos_token_ids:
        raise ConfigError(f"config.json: {config.mask_token_id} is both mask and end token.")
    named = {"mask_token_id": (config.mask_token_id,), "eos_token_id": config.eos_token_ids}
    for key, ids in named.items():
        for one in ids:
            if one >= config.vocab_size:
                raise ConfigError(
                    f"config.json: {key} {one} lies outside the vocabulary "
                    f"of {config.vocab_size} rows."
                )
    return config


def _nemotron(raw: dict[str, Any], notes: tuple[str, ...]) -> ModelConfig:
    rope = raw.get("rope_parameters") or raw.get("rope_scaling")
    if not isinstance(rope, dict):
        raise ConfigError("config.json: rope_parameters is missing.")
    # theta may live only inside rope_parameters; a silent default of 10000 would give garbage.
    rope_theta = theta({**raw, **rope})
    refuse_unsupported(raw, {**_DENSE, "tie_word_embeddings": (False, None)})
    rope_type = rope.get("rope_type", rope.get("type", "default"))
    yarn: YarnScaling | None = None
    if rope_type == "yarn":
        yarn = YarnScaling(
            factor=positive(rope, "factor"),
            original_max_positions=count(rope, "original_max_position_embeddings"),
            beta_fast=number(rope, "beta_fast", 32.0),
            beta_slow=number(rope, "beta_slow", 1.0),
            mscale=number(rope, "mscale", 1.0),
            mscale_all_dim=number(rope, "mscale_all_dim", 1.0),
        )
    elif rope_type != "default":
        raise ConfigError(f"config.json: rope_type {rope_type!r} is not known (yarn or default).")
    # The instruct files end a turn with 11, the Base files a text with 2: stop on both.
    eos = dict.fromkeys((*token_ids(raw.get("eos_token_id", [11, 2]), "eos_token_id"), 11, 2))
    return _check_ids(
        ModelConfig(
            family="nemotron_labs_diffusion",
            **_shapes(raw),
            rope_theta=rope_theta,
            yarn=yarn,
            query_scale_beta=number(rope, "llama_4_scaling_beta", 0.0) if yarn else 0.0,
            qkv_bias=False,
            tied_head=False,
            mask_token_id=token_id(raw, "mask_token_id", 100),
            bos_token_id=bos(raw),
            eos_token_ids=tuple(eos),
            block_size=count(raw, "block_size", 32),
            alignment="same_position",
            adapter_scope="block",
            notes=notes,
        )
    )


def _qwen2(raw: dict[str, Any]) -> ModelConfig:
    own = raw.get("nemodiff", {})
    if not isinstance(own, dict):
        raise ConfigError("config.json: nemodiff must be an object.")
    rope = raw.get("rope_parameters") or {}
    shapes = _shapes(raw)
    refuse_unsupported(raw, {"hidden_act": _DENSE["hidden_act"]})
    if raw.get("use_sliding_window"):
        raise ConfigError("config.json: use_sliding_window is not supported.")
    fim_ids = own.get("fim_token_ids")
    fim: FimTokens | None = None
    if isinstance(fim_ids, dict):
        fim = FimTokens(
            **{key: int(number(fim_ids, key)) for key in ("prefix", "suffix", "middle")}
        )
    elif fim_ids is None and shapes["vocab_size"] > _QWEN_MASK:
        fim = _QWEN_FIM
    default_eos: list[int] = list(_QWEN_EOS) if shapes["vocab_size"] > _QWEN_MASK else []
    eos = token_ids(
        own.get("eos_token_ids", default_eos or raw.get("eos_token_id")), "eos_token_id"
    )
    alignment = own.get("alignment", "next_position")
    scope = own.get("adapter_scope", "masks")
    if alignment not in ("same_position", "next_position"):
        raise ConfigError(f"config.json: nemodiff.alignment {alignment!r} is not known.")
    if scope not in ("block", "masks"):
        raise ConfigError(f"config.json: nemodiff.adapter_scope {scope!r} is not known.")
    return _check_ids(
        ModelConfig(
            family="qwen2",
            **shapes,
            rope_theta=theta({**raw, **rope}, 10000.0),
            yarn=None,
            query_scale_beta=0.0,
            qkv_bias=True,
            tied_head=bool(raw.get("tie_word_embeddings", False)),
            mask_token_id=token_id(own, "mask_token_id", min(_QWEN_MASK, shapes["vocab_size"] - 1)),
            bos_token_id=bos(raw),
            eos_token_ids=eos,
            block_size=count(own, "block_size", 8),
            alignment=alignment,
            adapter_scope=scope,
            fim=fim,
        )
    )
