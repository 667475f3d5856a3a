"""Memory for weights, in huge pages where the system has them; and giving back what is not needed.

A forward streams through all weights; with pages of 4 KiB, looking up their addresses costs as much
as a third of the bandwidth, on virtual machines half.
"""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import os
from pathlib import Path

import torch

_LINE = 64
_CHUNK = 64 * 2**20
_MADV_DONTNEED = 4  # of Linux; not in `mmap` of every build


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


def release(folder: Path | None = None) -> None:
    """Give freed memory back to the system, and the pages of files in `folder` that are mapped.

    These must only have been read: they come back from the file where they are needed again.
    Without effect where the system does not know how (it does on Linux with glibc).
    """
    with contextlib.suppress(AttributeError, OSError, TypeError, ValueError):
        system = ctypes.CDLL(None)
        for start, end in _mapped(folder) if folder is not None else ():
            system.madvise(ctypes.c_void_p(start), ctypes.c_size_t(end - start), _MADV_DONTNEED)
        system.malloc_trim(0)


def _mapped(folder: Path) -> list[tuple[int, int]]:
    """First and last address of what is mapped from files in `folder`."""
    inside = f"{folder.resolve()}{os.sep}"
    found = []
    for line in Path("/proc/self/maps").read_text(encoding="utf-8").splitlines():
        # address range, rights, offset, device, inode, path
        parts = line.split(maxsplit=5)
        if len(parts) == 6 and parts[5].startswith(inside):
            start, end = parts[0].split("-")
            found.append((int(start, 16), int(end, 16)))
    return found
