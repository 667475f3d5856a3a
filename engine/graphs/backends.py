"""Backends: how a static pass is run. As a CUDA graph, or eagerly, which is the slow twin."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import torch


class Backend(Protocol):
    """What a GraphRunner asks of one; everything happens in the order of the calls."""

    def buffers(self, num_bytes: int) -> tuple[torch.Tensor, torch.Tensor]:
        """uint8 (num_bytes,) on the host and on the device."""
        ...

    def upload(self, host: torch.Tensor, device: torch.Tensor) -> None:
        """One copy to the device; nobody waits for it."""
        ...

    def capture(self, compute: Callable[[], None]) -> Callable[[], None]:
        """Something that does again what `compute` does; `compute` may be run meanwhile."""
        ...

    def download(self, device: torch.Tensor, host: torch.Tensor) -> None:
        """One copy to the host, and the one wait for everything so far."""
        ...


class EagerBackend:
    """Every pass computes anew; on any device."""

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def buffers(self, num_bytes: int) -> tuple[torch.Tensor, torch.Tensor]:
        host = torch.zeros(num_bytes, dtype=torch.uint8, pin_memory=self._device.type == "cuda")
        return host, torch.zeros(num_bytes, dtype=torch.uint8, device=self._device)

    def upload(self, host: torch.Tensor, device: torch.Tensor) -> None:
        device.copy_(host, non_blocking=True)

    def capture(self, compute: Callable[[], None]) -> Callable[[], None]:
        return compute

    def download(self, device: torch.Tensor, host: torch.Tensor) -> None:
        host.copy_(device, non_blocking=True)
        if self._device.type == "cuda":
            torch.cuda.current_stream(self._device).synchronize()


class CudaGraphs(EagerBackend):
    """Passes are captured once and replayed. All graphs share one memory pool, which is sound as
    they never run at the same time and leave what they find outside of it."""

    def __init__(self, device: torch.device) -> None:
        super().__init__(device)
        stream: Any = torch.cuda.Stream
        self._stream = stream(device)
        self._pool: Any = torch.cuda.graph_pool_handle()

    def capture(self, compute: Callable[[], None]) -> Callable[[], None]:
        current = torch.cuda.current_stream(self._device)
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            # The first call compiles kernels and makes workspaces, the second shows that it is
            # done with that.
            compute()
            compute()
        current.wait_stream(self._stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool, stream=self._stream):
            compute()
        replay: Callable[[], None] = graph.replay
        return replay
