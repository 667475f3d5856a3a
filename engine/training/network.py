"""The decoder as it is trained: packed rows of many documents, differentiable, with low-rank pairs.

Same arithmetic as `engine.models.decoder` (equality-tested). A batch is one packed sequence of
rows in two streams: *clean* rows are the documents as they are, causal; *noisy* rows are blocks
with masks, each of which sees the clean tokens before it and itself: the dual-stream layout of
Nemotron-Labs-Diffusion (arXiv 2607.05722) and Block Diffusion (arXiv 2503.09573).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F

from engine.models.config import ModelConfig
from engine.models.decoder import Decoder
from engine.models.rotary import RotaryTable, rotate
from engine.training.lora import LowRankSet
from engine.training.packed_attention import plan_attention
from engine.training.rows import Rows

_QKV = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")
_OUT = ("self_attn.o_proj",)
_GATE_UP = ("mlp.gate_proj", "mlp.up_proj")
_DOWN = ("mlp.down_proj",)


@dataclass(slots=True)
class TrainLayer:
    """Weights of one block as the decoder fuses them; leaves that may or may not want gradients."""

    input_norm: torch.Tensor
    qkv: torch.Tensor
    qkv_bias: torch.Tensor | None
    out: torch.Tensor
    post_norm: torch.Tensor
    gate_up: torch.Tensor
    down: torch.Tensor


class Memory(NamedTuple):
    """What noisy rows need of clean rows: per layer rotated keys and values (M, K, D)."""

    rows: Rows
    keys: list[torch.Tensor]
    values: list[torch.Tensor]


class Network:
    """Frozen or trainable weights around the forward of packed rows.

    Activations are in `dtype`; weights kept in another dtype are cast where they are used, so
    that fp32 leaves can be trained under bf16 arithmetic.
    """

    def __init__(self, decoder: Decoder) -> None:
        self.config: ModelConfig = decoder.config
        self.dtype, self.device = decoder.dtype, decoder.device
        self.embedding, self.norm = _plain(decoder.embedding), _plain(decoder.norm)
        is_tied = decoder.head.weight.data_ptr() == decoder.embedding.data_ptr()
        self.head = self.embedding if is_tied else _plain(decoder.head.weight)
        self.mask_embedding = _plain(decoder.mask_embedding)
        self.rotary = RotaryTable(decoder.config, self.device, self.dtype)
        self.layers = [
            TrainLayer(
                _plain(layer.input_norm),
                _plain(layer.qkv.weight),
                None if layer.qkv.bias is None else _plain(layer.qkv.bias),
                _plain(layer.out.weight),
                _plain(layer.post_norm),
                _plain(layer.gate_up.weight),
                _plain(layer.down.weight),
            )
            for layer in decoder.layers
        ]

    def forward(
        self,
        rows: Rows,
        lora: LowRankSet | None = None,
        *,
        memory: Memory | None = None,
        masks_only: bool = False,
    ) -> tuple[torch.Tensor, Memory]:
        """Normed hidden states (N, hidden) of packed `rows`, and their keys and values.

        memory: clean rows computed before, which `rows` also see. masks_only: the low-rank pairs
        act on mask rows only (adapter_scope ``masks``), else on all rows.
        """
        is_mask = rows.ids == self.config.mask_token_id
        self.rotary.reserve(int(rows.positions.max()) + 1)
        cos, sin = self.rotary.lookup(rows.positions)
        scale = self.rotary.query_scale(rows.positions)
        mask_row = self.mask_embedding
        if lora is not None and lora.mask_embedding is not None:
            mask_row = lora.mask_embedding
        x = F.embedding(rows.ids, self.embedding).to(self.dtype)
        x = torch.where(is_mask.unsqueeze(1), mask_row.to(self.dtype), x)
        gate = is_mask.unsqueeze(1).to(self.dtype) if masks_only else None
        attention = plan_attention(rows, None if memory is None else memory.rows)
        keys, values = [], []
        for number, layer in enumerate(self.layers):
            pairs = _LayerPairs(lora, number, gate)
            h = self._normed(x, layer.input_norm)
            q, k, v = pairs.apply(h, layer.qkv, layer.qkv_bias, _QKV, self._qkv_widths)
            q, k = self._rotated(q, cos, sin), self._rotated(k, cos, sin)
            q = q if scale is None else q * scale
            v = v.view(v.shape[0], -1, self.config.head_dim)
            keys.append(k)
            values.append(v)
            old = None if memory is None else (memory.keys[number], memory.values[number])
            attended = attention.attend(q, k, v, old)
            x = x + pairs.apply(attended, layer.out, None, _OUT)[0]
            h = self._normed(x, layer.post_norm)
            gated, up = pairs.apply(h, layer.gate_up, None, _GATE_UP, self._gate_up_widths)
            x = x + pairs.apply(F.silu(gated) * up, layer.down, None, _DOWN)[0]
        return self._normed(x, self.norm), Memory(rows, keys, values)

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """(N, hidden) -> fp32 (N, vocab_size)."""
        return F.linear(hidden, self.head.to(self.dtype)).float()

    @property
    def _qkv_widths(self) -> list[int]:
        c = self.config
        return [c.num_heads * c.head_dim, *([c.num_kv_heads * c.head_dim] * 2)]

    @property
    def _gate_up_widths(self) -> list[int]:
        return [self.config.intermediate_size] * 2

    def _normed(self, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        return F.rms_norm(x, (x.shape[-1],), weight.to(self.dtype), self.config.norm_eps)

    def _rotated(self, x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
        """(N, heads * D) -> (N, heads, D), turned by the angles of its positions."""
        return rotate(x.view(x.shape[0], -1, self.config.head_dim), cos, sin)


def _plain(tensor: torch.Tensor) -> torch.Tensor:
    """A tensor that autograd may save: loading happens in inference mode."""
    return tensor.clone() if tensor.is_inference() else tensor


class _LayerPairs:
    """The low-rank pairs of one layer, applied beside its fused weights."""

    def __init__(self, lora: LowRankSet | None, number: int, gate: torch.Tensor | None) -> None:
        self._lora, self._number, self._gate = lora, number, gate

    def apply(
        self,
        x: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        names: Sequence[str],
        widths: Sequence[int] | None = None,
    ) -> list[torch.Tensor]:
        """One (N, width) per name: the fused product, split, each part plus its pair's."""
        y = F.linear(x, weight.to(x.dtype), None if bias is None else bias.to(x.dtype))
        parts = [y] if widths is None else list(torch.split(y, list(widths), dim=-1))
        if self._lora is None:
            return parts
        found = [self._lora.pairs.get(f"layers.{self._number}.{name}") for name in names]
        present = [pair for pair in found if pair is not None]
        if not present:
            return parts
        downs = torch.cat([down for down, _ in present]).to(x.dtype)
        low = F.linear(x, downs) * self._lora.scale
        if self._gate is not None:
            low = low * self._gate
        lows = iter(torch.split(low, self._lora.rank, dim=-1))
        return [
            part if pair is None else torch.addmm(part, next(lows), pair[1].to(x.dtype).t())
            for part, pair in zip(parts, found, strict=True)
        ]
