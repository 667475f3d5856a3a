"""A linear layer with an optional low-rank adapter on chosen rows: plain, oneDNN-packed, or of
rounded weights.

Packing stores a weight once in the blocked layout of the CPU's matrix kernels; on AMD CPUs torch's
default fp32 path is 2-3 times slower without it. The packed ops are private to torch, so they are
checked against `F.linear` before use and given up when they are missing or wrong. int8 weights
belong to the kernels of `engine.native`, rounded ones to those of `engine.kernels`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F

from engine.quantised.weight import QuantisedWeight

if TYPE_CHECKING:
    from engine.native.weight import Int8LowRank, Int8Weight
    from engine.quantised.rounding import Kind

# Rows that the packed layout is tuned for; any number of rows works.
_TYPICAL_ROWS = 32


@dataclass(frozen=True, slots=True)
class LowRank:
    """down (r, in) and up (out, r), the scale already folded into `up`."""

    down: torch.Tensor
    up: torch.Tensor


class Linear:
    """y = x W^T + b for x (N, in); `rows`, indices (num_rows,) or a slice, says where the adapter
    is added. packed: the weight and the adapters set later are packed. With an int8 weight, the
    bias is kept in fp32, and adapters are int8 too; with a quantised one, adapters stay as they
    are. rounded_to: how the values of a weight in full width were rounded before, if they were."""

    def __init__(
        self,
        weight: torch.Tensor | Int8Weight | QuantisedWeight,
        bias: torch.Tensor | None,
        *,
        packed: bool,
        rounded_to: Kind | None = None,
    ) -> None:
        self._packs = packed
        self._rounded_to = rounded_to
        self._packed: torch.Tensor | None = None
        self._weight: torch.Tensor | None = None
        self._adapter: LowRank | Int8LowRank | None = None
        self.int8: Int8Weight | None = None
        self.quantised: QuantisedWeight | None = None
        if isinstance(weight, QuantisedWeight):
            self.quantised = weight
        elif not isinstance(weight, torch.Tensor):
            self.int8 = weight
            bias = None if bias is None else bias.float()
        elif packed:
            self._packed = _pack(weight)
        else:
            self._weight = weight
        self.bias = bias

    @property
    def adapter(self) -> LowRank | Int8LowRank | None:
        return self._adapter

    @adapter.setter
    def adapter(self, adapter: LowRank | None) -> None:
        self._adapter = adapter
        if adapter is not None and self.int8 is not None:
            self._adapter = self.int8.low_rank(adapter.down, adapter.up)
        elif adapter is not None and self._packs:
            self._adapter = LowRank(_pack(adapter.down), _pack(adapter.up))

    @property
    def is_plain(self) -> bool:
        """Whether there is a `weight` as torch knows it."""
        return self._weight is not None

    @property
    def is_packed(self) -> bool:
        """Whether the weight, and so the adapter, is packed for a CPU's own kernels."""
        return self._packed is not None or self.int8 is not None

    @property
    def kind(self) -> Kind | None:
        """How the weights are rounded; None where they are not."""
        if self.int8 is not None:
            return "int8"
        return self._rounded_to if self.quantised is None else self.quantised.kind

    @property
    def weight(self) -> torch.Tensor:
        """(out, in); only of a layer that is neither packed nor of rounded weights."""
        assert self._weight is not None
        return self._weight

    def __call__(self, x: torch.Tensor, rows: torch.Tensor | slice | None = None) -> torch.Tensor:
        y = self._product(x)
        if rows is not None:
            self.add_adapter(x, rows, y)
        return y

    def in_float(self, x: torch.Tensor) -> torch.Tensor:
        """fp32 (N, out), without an adapter; rounded weights give it unrounded."""
        if self.int8 is not None:
            return self.int8.product(x, self.bias, torch.float32)
        if self.quantised is not None:
            return self.quantised.product(x, self.bias, torch.float32)
        return self._product(x).float()

    def add_adapter(self, x: torch.Tensor, rows: torch.Tensor | slice, y: torch.Tensor) -> None:
        """y[rows] += the adapter's part for x (N, in); both contiguous, and of one dtype but for
        int8 layers, where they may be fp32 or bf16."""
        if self._adapter is None:
            return
        if not isinstance(self._adapter, LowRank):
            if isinstance(rows, slice):
                self._adapter.add(x[rows], y[rows])
            else:
                picked = y[rows]
                self._adapter.add(x[rows], picked)
                y[rows] = picked
            return
        product = _packed_linear if self._packs else F.linear
        low = product(x[rows], self._adapter.down, None)
        delta = product(low, self._adapter.up, None)
        if isinstance(rows, slice):
            y[rows] += delta
        else:
            y.index_add_(0, rows, delta)

    def _product(self, x: torch.Tensor) -> torch.Tensor:
        if self.int8 is not None:
            return self.int8.product(x, self.bias, x.dtype)
        if self.quantised is not None:
            return self.quantised.product(x, self.bias, x.dtype)
        if self._packed is not None:
            return _packed_linear(x, self._packed, self.bias)
        return F.linear(x, self.weight, self.bias)


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
