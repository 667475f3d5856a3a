"""The slow twins of the kernels that touch the KV cache, as a static pass calls them.

They find the cache as tensors instead of by its addresses, so they run everywhere and cannot be
part of a CUDA graph.
"""

from __future__ import annotations

import torch

from engine.graphs.inputs import CacheInputs
from engine.kernels.twins import rope_store_twin
from engine.models.attention import attend


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
    cached, length = None, 0
    if new[0].shape[0] == 1:
        assert at.cache is not None
        cached, length = at.cache.buffers(layer), at.cache.length
    return rope_store_twin(qkv, cos, sin, q_scale, cached, length, *new, num_heads)


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
