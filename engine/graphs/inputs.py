"""Everything that changes from pass to pass, in one buffer: one copy brings it to the device."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch

from engine.decoding.forward import Forward
from engine.kv_cache import KVCache


class PassShape(NamedTuple):
    """R rows (sequences over one cached prefix) of T tokens, padding among them; with_adapter: the
    draft adapter is on; max_length: the most tokens that may be cached."""

    R: int
    T: int
    with_adapter: bool
    max_length: int

    @property
    def num_tokens(self) -> int:
        return self.R * self.T


@dataclass(slots=True)
class CacheInputs:
    """Where the KV cache of a pass lies. For kernels, on the device: pointers int64 (num_layers, 2)
    addresses of keys and of values, length int64 (1,), head_stride int64 (1,) in elements. For
    their twins: the cache itself."""

    pointers: torch.Tensor
    length: torch.Tensor
    head_stride: torch.Tensor
    cache: KVCache | None = None


class PassInputs:
    """ids and offsets int64 (N,), visible bool (R, T, T) and `cache`: views of `device_buffer`,
    which is a copy of `host_buffer` (uint8, the same size).

    Padding tokens have id 0, stand at offset 0, and see and are seen by themselves only (and see
    what is cached).
    """

    def __init__(
        self, shape: PassShape, num_layers: int, host_buffer: torch.Tensor, device: torch.Tensor
    ) -> None:
        self.shape = shape
        self.host_buffer, self.device_buffer = host_buffer, device
        at = _split(shape, num_layers, device)
        self.cache = CacheInputs(at.pointers.view(-1, 2), at.length, at.head_stride)
        self.ids, self.offsets = at.ids, at.offsets
        self.visible = at.visible.view(torch.bool).view(shape.R, shape.T, shape.T)
        host = _split(shape, num_layers, host_buffer)
        self._host = _Parts(*(part.numpy() for part in host))
        self._seen = self._host.visible.view(np.bool_).reshape(shape.R, shape.T, shape.T)
        self._alone = np.eye(shape.T, dtype=np.bool_)

    def fill(self, forward: Forward, cache: KVCache) -> None:
        """Write the pass over `cache` into the host's buffer; the cache has room for it already."""
        T = forward.ids.shape[1]
        host = self._host
        keys, _ = cache.buffers(0)
        host.pointers[:] = _addresses(cache, len(host.pointers) // 2)
        host.length[0], host.head_stride[0] = cache.length, keys.stride(0)
        ids, offsets = (
            each.reshape(self.shape.R, self.shape.T) for each in (host.ids, host.offsets)
        )
        ids[:, T:], offsets[:, T:] = 0, 0
        ids[:, :T] = forward.ids.cpu().numpy()
        offsets[:, :T] = np.arange(T) if forward.offsets is None else forward.offsets.cpu().numpy()
        self._seen[:] = self._alone
        self._seen[:, :T, :T] = _view(forward)
        self.cache.cache = cache


def num_bytes(shape: PassShape, num_layers: int) -> int:
    """Size of the buffers of PassInputs."""
    return 8 * sum(_lengths(shape, num_layers)) + shape.num_tokens * shape.T


def num_positions(forward: Forward, cache: KVCache) -> int:
    """Positions that the rotary tables must have for this pass."""
    last = forward.ids.shape[1] - 1 if forward.offsets is None else int(forward.offsets.max())
    return cache.length + last + 1


class _Parts(NamedTuple):
    """Tensors or arrays, one-dimensional; all int64 but for visible, which is bytes."""

    pointers: Any
    length: Any
    head_stride: Any
    ids: Any
    offsets: Any
    visible: Any


def _addresses(cache: KVCache, num_layers: int) -> list[int]:
    """Of each layer's keys and values, in turn."""
    return [each.data_ptr() for layer in range(num_layers) for each in cache.buffers(layer)]


def _lengths(shape: PassShape, num_layers: int) -> tuple[int, ...]:
    return (2 * num_layers, 1, 1, shape.num_tokens, shape.num_tokens)


def _split(shape: PassShape, num_layers: int, buffer: torch.Tensor) -> _Parts:
    lengths = _lengths(shape, num_layers)
    numbers = buffer[: 8 * sum(lengths)].view(torch.int64)
    pointers, length, head_stride, ids, offsets = torch.split(numbers, list(lengths))
    return _Parts(pointers, length, head_stride, ids, offsets, buffer[8 * sum(lengths) :])


def _view(forward: Forward) -> Any:
    """bool (T, T) or (R, T, T)."""
    if isinstance(forward.view, torch.Tensor):
        return forward.view.cpu().numpy()
    T = forward.ids.shape[1]
    seen = np.ones((T, T), dtype=np.bool_)
    return seen if forward.view == "full" else np.tril(seen)
