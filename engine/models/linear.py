"""A linear layer with an optional low-rank adapter on chosen rows, plain or oneDNN-packed.

Packing stores a weight once in the blocked layout of the CPU's matrix kernels; on AMD CPUs torch's
default fp32 path is 2-3 times slower without it. The packed ops are private to torch, so they are
checked against `F.linear` before use and given up when they are missing or wrong.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F

# Rows that the packed layout is tuned for; any number of rows works.
_TYPICAL_ROWS = 32


@dataclass(frozen=True, slots=True)
class LowRank:
    """down (r, in) and up (out, r), the scale already folded into `up`."""

    down: torch.Tensor
    up: torch.Tensor


class Linear:
    """y = x W^T + b for x (N, in); `rows`, indices (num_rows,) or a slice, says where the adapter
    is added. Setting `adapter` packs it where the weight is packed."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None, *, packed: bool) -> None:
        self.bias = bias
        self._packed = _pack(weight) if packed else None
        self._weight = None if packed else weight
        self._adapter: LowRank | None = None

    @property
    def adapter(self) -> LowRank | None:
        return self._adapter

    @adapter.setter
    def adapter(self, adapter: LowRank | None) -> None:
        if adapter is not None and self._packed is not None:
            adapter = LowRank(_pack(adapter.down), _pack(adapter.up))
        self._adapter = adapter

    @property
    def weight(self) -> torch.Tensor:
        """(out, in); only of a layer that is not packed."""
        assert self._weight is not None
        return self._weight

    def __call__(self, x: torch.Tensor, rows: torch.Tensor | slice | None = None) -> torch.Tensor:
        if self._packed is not None:
            y = _packed_linear(x, self._packed, self.bias)
        else:
            assert self._weight is not None
            y = F.linear(x, self._weight, self.bias)
        if rows is not None and self._adapter is not None:
            product = F.linear if self._packed is None else _packed_linear
            low = product(x[rows], self._adapter.down, None)
            delta = product(low, self._adapter.up, None)
            if isinstance(rows, slice):
                y[rows] += delta
            else:
                y.index_add_(0, rows, delta)
        return y


def _pack(weight: torch.Tensor) -> torch.Tensor:
    packed: torch.Tensor = torch.ops.mkldnn._reorder_linear_weight(
        weight.contiguous(), _TYPICAL_ROWS
    )
    return packed


def _packed_linear(
    x: torch.Tensor, packed: torch.Tensor, bias: torch.Tensor | None
) -> torch.Tensor:
    y: torch.Tensor = torch.ops.mkldnn._linear_pointwise(x, packed, bias, "none", [], "")
    return y


def packing_problem(dtype: torch.dtype) -> str | None:
    """Why the packed path cannot be used on this CPU with `dtype`; None when it agrees."""
    generator = torch.Generator().manual_seed(0)
    try:
        for rows in (1, 8, 33):
            x = torch.randn(rows, 192, generator=generator).to(dtype)
            weight = torch.randn(320, 192, generator=generator).to(dtype)
            bias = torch.randn(320, generator=generator).to(dtype)
            expected = F.linear(x.float(), weight.float(), bias.float())
            found = _packed_linear(x, _pack(weight), bias).float()
            error = (found - expected).abs().max() / expected.abs().max()
            if not error < (1e-5 if dtype == torch.float32 else 2e-2):
                return f"oneDNN's packed product is off by {float(error):.1e}"
    except (AttributeError, RuntimeError) as failure:
        return f"oneDNN's packed product is not available ({str(failure).splitlines()[0][:100]})"
    return None
