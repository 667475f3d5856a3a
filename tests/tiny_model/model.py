"""The tiny model as `train` trains it: a Llama-type decoder over two streams at once.

Parameter names are those of the checkpoint format, so that `state_dict` can be written as it is.
Inference code shares nothing with this module; `tests/reference` proves that they agree.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

CONFIG: dict[str, Any] = {
    "architectures": ["NemotronLabsDiffusionModel"],
    "model_type": "nemotron_labs_diffusion",
    "dtype": "bfloat16",
    "vocab_size": 640,
    "hidden_size": 96,
    "intermediate_size": 256,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "hidden_act": "silu",
    "rms_norm_eps": 1e-05,
    "attention_bias": False,
    "attention_dropout": 0.0,
    "mlp_bias": False,
    "sliding_window": None,
    "initializer_range": 0.02,
    "tie_word_embeddings": False,
    "bos_token_id": 1,
    "eos_token_id": 11,
    "mask_token_id": 100,
    "block_size": 32,
    "dlm_paradigm": "bidirectional",
    "ar_loss_weight": 1.0,
    "dlm_loss_weight": None,
    "dp_varying_mask_ratio": False,
    "attn_implementation": "sdpa",
    "use_cache": False,
    "max_position_embeddings": 2048,
    "rope_parameters": {
        "rope_type": "yarn",
        # Neither transformers' default of 10000 nor a real checkpoint's: a loader that misses
        # this key produces garbage, which tests notice.
        "rope_theta": 1000.0,
        "factor": 16.0,
        "original_max_position_embeddings": 128,
        "beta_fast": 32.0,
        "beta_slow": 1.0,
        "mscale": 1.0,
        "mscale_all_dim": 1.0,
        "llama_4_scaling_beta": 0.1,
    },
}
LORA_RANK, LORA_ALPHA = 8, 32


def yarn_frequencies() -> Tensor:
    """Inverse frequencies, (head_dim / 2,), after YaRN (arXiv 2309.00071, section 3.2)."""
    rope, dim = CONFIG["rope_parameters"], CONFIG["head_dim"]
    plain = rope["rope_theta"] ** (-torch.arange(0, dim, 2, dtype=torch.float32) / dim)
    span = rope["original_max_position_embeddings"] / (2 * math.pi)
    per_turn = dim / (2 * math.log(rope["rope_theta"]))
    low = max(math.floor(per_turn * math.log(span / rope["beta_fast"])), 0)
    high = min(math.ceil(per_turn * math.log(span / rope["beta_slow"])), dim - 1)
    ramp = ((torch.arange(dim // 2) - low) / max(high - low, 1e-3)).clamp(0, 1)
    mixed: Tensor = plain * (1 - ramp) + plain / rope["factor"] * ramp
    return mixed


class Rotary:
    """cos and sin, (B, 1, T, head_dim), and the query scale, (B, 1, T, 1), of some positions."""

    def __init__(self, positions: Tensor) -> None:
        rope = CONFIG["rope_parameters"]
        angles = positions[:, None, :, None].float() * yarn_frequencies()
        self.cos = torch.cat((angles, angles), -1).cos()
        self.sin = torch.cat((angles, angles), -1).sin()
        turns = torch.floor(positions / rope["original_max_position_embeddings"])
        scale = 1 + rope["llama_4_scaling_beta"] * torch.log1p(turns)
        self.query_scale = scale[:, None, :, None]

    def __call__(self, x: Tensor) -> Tensor:
        first, second = x.chunk(2, -1)
        return x * self.cos.to(x.dtype) + torch.cat((-second, first), -1) * self.sin.to(x.dtype)


class Attention(nn.Module):
    """Grouped-query attention: the noisy half sees both halves, the clean one itself."""

    def __init__(self) -> None:
        super().__init__()
        hidden, dim = CONFIG["hidden_size"], CONFIG["head_dim"]
        self.num_heads, self.num_kv = CONFIG["num_attention_heads"], CONFIG["num_key_value_heads"]
        self.q_proj = nn.Linear(hidden, self.num_heads * dim, bias=False)
        self.k_proj = nn.Linear(hidden, self.num_kv * dim, bias=False)
        self.v_proj = nn.Linear(hidden, self.num_kv * dim, bias=False)
        self.o_proj = nn.Linear(self.num_heads * dim, hidden, bias=False)
        self.lora: tuple[Tensor, Tensor] | None = None

    def forward(self, x: Tensor, rotary: Rotary, noisy_mask: Tensor) -> Tensor:
        B, T, _ = x.shape
        L = T // 2

        def heads(y: Tensor, num: int) -> Tensor:
            return y.view(B, T, num, -1).transpose(1, 2)

        groups = self.num_heads // self.num_kv
        q = rotary(heads(self.q_proj(x), self.num_heads))
        q = q * rotary.query_scale.to(q.dtype)
        k = rotary(heads(self.k_proj(x), self.num_kv)).repeat_interleave(groups, 1)
        v = heads(self.v_proj(x), self.num_kv).repeat_interleave(groups, 1)
        noisy = functional.scaled_dot_product_attention(q[:, :, :L], k, v, attn_mask=noisy_mask)
        clean = functional.scaled_dot_product_attention(
            q[:, :, L:], k[:, :, L:], v[:, :, L:], is_causal=True
        )
        mixed = torch.cat((noisy, clean), 2).transpose(1, 2).reshape(B, T, -1)
        out: Tensor = self.o_proj(mixed)
        if self.lora is not None:
            # Only the noisy half drafts; the clean half stays the verifier.
            down, up = self.lora
            delta = functional.linear(functional.linear(mixed[:, :L], down), up) * (
                LORA_ALPHA / LORA_RANK
            )
            out = torch.cat((out[:, :L] + delta, out[:, L:]), 1)
        return out


class Mlp(nn.Module):
    """SwiGLU."""

    def __init__(self) -> None:
        super().__init__()
        hidden, inner = CONFIG["hidden_size"], CONFIG["intermediate_size"]
        self.gate_proj = nn.Linear(hidden, inner, bias=False)
        self.up_proj = nn.Linear(hidden, inner, bias=False)
        self.down_proj = nn.Linear(inner, hidden, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.down_proj(functional.silu(self.gate_proj(x)) * self.up_proj(x))
        return out


class Layer(nn.Module):
    """One pre-norm decoder layer."""

    def __init__(self) -> None:
        super().__init__()
        self.input_layernorm = nn.RMSNorm(CONFIG["hidden_size"], eps=CONFIG["rms_norm_eps"])
        self.self_attn = Attention()
        self.post_attention_layernorm = nn.RMSNorm(
            CONFIG["hidden_size"], eps=CONFIG["rms_norm_eps"]
        )
        self.mlp = Mlp()

    def forward(self, x: Tensor, rotary: Rotary, noisy_mask: Tensor) -> Tensor:
        x = x + self.self_attn(self.input_layernorm(x), rotary, noisy_mask)
        out: Tensor = x + self.mlp(self.post_attention_layernorm(x))
        return out


class Encoder(nn.Module):
    """Embedding, layers and final norm."""

    def __init__(self) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(CONFIG["vocab_size"], CONFIG["hidden_size"])
        self.layers = nn.ModuleList(Layer() for _ in range(CONFIG["num_hidden_layers"]))
        self.norm = nn.RMSNorm(CONFIG["hidden_size"], eps=CONFIG["rms_norm_eps"])


class DualStreamModel(nn.Module):
    """Tokens ``[noisy | clean]`` (B, 2L) to logits (B, 2L, vocab)."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = Encoder()
        self.diffusion_head = nn.Linear(CONFIG["hidden_size"], CONFIG["vocab_size"], bias=False)
        for name, weight in self.named_parameters():
            if weight.ndim == 2:
                fan_in = weight.shape[1]
                nn.init.normal_(weight, std=0.5 if "embed" in name else fan_in**-0.5)
        # Untied by copying, as Megatron-Bridge does it: copying circuits then form sooner.
        with torch.no_grad():
            self.diffusion_head.weight.copy_(self.encoder.embed_tokens.weight * 0.1)

    def forward(self, tokens: Tensor, positions: Tensor, noisy_mask: Tensor) -> Tensor:
        """positions: (B, 2L). noisy_mask: bool (B, 1, L, 2L), True where noisy row may look."""
        rotary = Rotary(positions)
        x = self.encoder.embed_tokens(tokens)
        for layer in self.encoder.layers:
            x = layer(x, rotary, noisy_mask)
        logits: Tensor = self.diffusion_head(self.encoder.norm(x))
        return logits
