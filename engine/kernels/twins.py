"""Slow twins of the small kernels, in plain torch: what tests and the bench hold them against, and
what a static pass takes where a kernel is switched off. Needs no triton.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from engine.models.rotary import rotate


def rms_norm_twin(
    x: torch.Tensor, weight: torch.Tensor, eps: float, residual: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Of `engine.kernels.norm.rms_norm`."""
    summed = x if residual is None else x + residual
    return F.rms_norm(summed, (x.shape[-1],), weight, eps), summed


def swiglu_twin(gate_up: torch.Tensor) -> torch.Tensor:
    """Of `engine.kernels.swiglu.swiglu`."""
    gate, up = gate_up.chunk(2, dim=-1)
    return F.silu(gate) * up


def add_low_rank_twin(
    x: torch.Tensor, down: torch.Tensor, up: torch.Tensor, gate: torch.Tensor, y: torch.Tensor
) -> None:
    """Of `engine.kernels.low_rank.add_low_rank`: works for all rows and keeps some."""
    y.copy_(torch.where(gate.unsqueeze(1), y + F.linear(F.linear(x, down), up), y))


def rope_store_twin(  # noqa: PLR0913
    qkv: torch.Tensor,
    cos: torch.Tensor,
    sin: torch.Tensor,
    q_scale: torch.Tensor | None,
    cached: tuple[torch.Tensor, torch.Tensor] | None,
    length: int,
    new_keys: torch.Tensor,
    new_values: torch.Tensor,
    num_heads: int,
) -> torch.Tensor:
    """Of `engine.kernels.rope.rope_store`; cached: keys and values (K, capacity, D) to be written
    behind `length`, or None."""
    N, D = cos.shape
    num_kv_heads = new_keys.shape[2]
    heads = qkv.view(N, num_heads + 2 * num_kv_heads, D)
    q, k, v = torch.split(heads, [num_heads, num_kv_heads, num_kv_heads], dim=1)
    q, k = (rotate(each, cos.unsqueeze(1), sin.unsqueeze(1)) for each in (q, k))
    new_keys.view(N, num_kv_heads, D).copy_(k)
    new_values.view(N, num_kv_heads, D).copy_(v)
    if cached is not None:
        for store, new in zip(cached, (k, v), strict=True):
            store[:, length : length + N] = new.transpose(0, 1)
    return q.contiguous() if q_scale is None else q * q_scale.view(-1, 1, 1)
