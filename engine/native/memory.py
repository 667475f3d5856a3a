"""Memory for weights, in huge pages where the system has them.

A forward streams through all weights; with pages of 4 KiB, looking up their addresses costs as much
as a third of the bandwidth, on virtual machines half.
"""

from __future__ import annotations

import contextlib
import mmap

import torch

_LINE = 64
_CHUNK = 64 * 2**20


def huge(num_bytes: int) -> torch.Tensor:
    """uint8 (num_bytes,), zeros."""
    # Private: shared memory, the default, gets no huge pages.
    memory = mmap.mmap(-1, max(num_bytes, 1), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    # Where it is refused, ordinary pages do.
    with contextlib.suppress(AttributeError, OSError):
        memory.madvise(mmap.MADV_HUGEPAGE)
    return torch.frombuffer(memory, dtype=torch.uint8)[:num_bytes]


class Arena:
    """Hands out pieces of large chunks, so that small weights lie in huge pages too."""

    def __init__(self) -> None:
        self._chunk, self._used = torch.empty(0, dtype=torch.uint8), 0

    def take(self, num_bytes: int) -> torch.Tensor:
        """uint8 (num_bytes,), beginning at a multiple of 64 bytes."""
        if self._used + num_bytes > self._chunk.numel():
            self._chunk, self._used = huge(max(num_bytes, _CHUNK)), 0
        piece = self._chunk[self._used : self._used + num_bytes]
        self._used += -(-num_bytes // _LINE) * _LINE
        return piece
