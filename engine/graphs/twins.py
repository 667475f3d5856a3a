"""What a static pass is made of, in plain torch: the slow twins of `engine.kernels`.

They take what the kernels take, but find the KV cache as tensors instead of by its addresses, so
they run everywhere and cannot be part of a CUDA graph where they touch the cache.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from engine.graphs.inputs import CacheInputs
from engine.models.attention import attend
from engine.models.rotary import rotate


def rms_norm(
    x: torch.Tensor, weight: torch.Tensor, eps: float, residual: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """(N, C) -> normed (N, C) of the sum with `residual`, and that sum."""
    summed = x if residual is None else residual + x
    return F.rms_norm(summed, (summed.shape[-1],), weight, eps), summed


def swiglu(gate_up: torch.Tensor) -> torch.Tensor:
    """(N, 2 I) -> (N, I)."""
    gate, up = gate_up.chunk(2, dim=-1)
    return F.silu(gate) * up


def add_low_rank(
    x: torch.Tensor, down: torch.Tensor, up: torch.Tensor, gate: torch.Tensor, y: torch.Tensor
) -> None:
    """y (N, M) += up (M, r) down (r, C) x (N, C) in the rows where `gate` bool (N,) is open."""
    y += torch.where(gate.unsqueeze(1), F.linear(F.linear(x, down), up), 0)


def rope_store(
    qkv: torch.Tensor,
    cos: torch.Tensor,
    sin: torch.Tensor,
    q_scale: torch.Tensor | None,
    at: CacheInputs,
    layer: int,
    new: tuple[torch.Tensor, torch.Tensor],
    num_heads: int,
) -> torch.Tensor:
    """qkv (N, (H + 2 K) * D), cos and sin (N, D), q_scale (N,) -> rotated q (N, H, D).

    Rotated keys, and values, are written into `new`, each (R, T, K, D), and with one row into the
    cache behind its length, too.
    """
    new_keys, new_values = new
    (R, _, num_kv_heads, _), N = new_keys.shape, qkv.shape[0]
    heads = qkv.view(N, num_heads + 2 * num_kv_heads, -1)
    q, k, v = torch.split(heads, [num_heads, num_kv_heads, num_kv_heads], dim=1)
    q, k = (rotate(each, cos.unsqueeze(1), sin.unsqueeze(1)) for each in (q, k))
    new_keys.copy_(k.view_as(new_keys))
    new_values.copy_(v.reshape(new_values.shape))
    if R == 1:
        assert at.cache is not None
        at.cache.write(layer, k.transpose(0, 1), v.transpose(0, 1))
    return q if q_scale is None else q * q_scale.view(-1, 1, 1)


def attend_cached(
    q: torch.Tensor,
    at: CacheInputs,
    layer: int,
    new: tuple[torch.Tensor, torch.Tensor],
    visible: torch.Tensor,
    num_splits: int,
) -> torch.Tensor:
    """q (R, T, H, D) over the cached keys, and of `new` over those that `visible` (R, T, T) shows;
    (R, T, H * D). num_splits: into how many parts a kernel cuts the cached keys."""
    assert at.cache is not None
    old = [each.expand(q.shape[0], -1, -1, -1) for each in at.cache.committed(layer)]
    keys, values = (
        torch.cat((cached, added.transpose(1, 2)), dim=2)
        for cached, added in zip(old, new, strict=True)
    )
    return attend(q, keys, values, visible)
