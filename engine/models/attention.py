"""Attention of new tokens over cached and new keys, with grouped query heads.

The query heads of one key-value head are folded into the row dimension, so that neither keys nor
values are ever copied per query head.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F


def attend(
    query: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    visible: torch.Tensor | None,
) -> torch.Tensor:
    """Scaled dot-product attention.

    query (R, T, num_heads, head_dim); keys, values (R, num_kv_heads, L, head_dim), of which the
    last T positions are the new tokens; visible bool (T, T) or (R, T, T): query i sees new key j.
    None = everything is seen. All cached positions are always seen. Returns (R, T, num_heads *
    head_dim).
    """
    R, T, num_heads, head_dim = query.shape
    num_kv_heads, L = keys.shape[1], keys.shape[2]
    group = num_heads // num_kv_heads
    folded = query.view(R, T, num_kv_heads, group, head_dim).permute(0, 2, 3, 1, 4)
    folded = folded.reshape(R, num_kv_heads, group * T, head_dim)
    mask = None if visible is None else _fold_mask(visible, group, L)
    out = F.scaled_dot_product_attention(folded, keys, values, attn_mask=mask)
    out = out.view(R, num_kv_heads, group, T, head_dim).permute(0, 3, 1, 2, 4)
    return out.reshape(R, T, num_heads * head_dim)


def _fold_mask(visible: torch.Tensor, group: int, L: int) -> torch.Tensor:
    """bool (1 or R, 1, group * T, L): the cached positions are open to all."""
    if visible.dim() == 2:
        visible = visible.unsqueeze(0)
    R, T, _ = visible.shape
    full = torch.ones(R, T, L, dtype=torch.bool, device=visible.device)
    full[:, :, L - T :] = visible
    return full.unsqueeze(1).expand(R, group, T, L).reshape(R, 1, group * T, L)


def causal_mask(T: int, device: torch.device) -> torch.Tensor | None:
    """bool (T, T), row i sees columns 0..i; None for one token, which sees itself anyway."""
    if T == 1:
        return None
    return torch.ones(T, T, dtype=torch.bool, device=device).tril_()
