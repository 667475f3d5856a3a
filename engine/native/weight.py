"""Packed int8 weights, as the linear layer and the native pass use them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from engine.models.survey import Choosable, Survey
from engine.native import library
from engine.native.memory import Arena


@dataclass(frozen=True, slots=True)
class Int8Weight:
    """packed uint8, see `library.pack`, of a weight (num_outputs, num_inputs)."""

    packed: torch.Tensor
    num_outputs: int
    num_inputs: int

    @classmethod
    def of(cls, weight: torch.Tensor, arena: Arena | None = None) -> Int8Weight:
        """Quantise and pack (M, K), which must fit (`library.fits`); into a piece of `arena`."""
        if weight.dtype not in (torch.float32, torch.bfloat16):
            weight = weight.float()
        M, K = weight.shape
        packed = (arena or Arena()).take(library.packed_bytes(M, K))
        library.pack(weight, packed)
        return cls(packed, M, K)

    def numel(self) -> int:
        """Weights, as of a tensor."""
        return self.num_outputs * self.num_inputs

    def low_rank(self, down: torch.Tensor, up: torch.Tensor) -> Int8LowRank:
        """An adapter (r, in), (out, r) of the layer with this weight."""
        return Int8LowRank.of(down, up)

    def product(
        self, x: torch.Tensor, bias: torch.Tensor | None, dtype: torch.dtype
    ) -> torch.Tensor:
        """x (N, K) fp32 or bf16 -> (N, M) of `dtype`; bias fp32 (M,). A row of the result does not
        depend on the others."""
        out = torch.empty(x.shape[0], self.num_outputs, dtype=dtype)
        library.linear(x.contiguous(), self.packed, bias, out)
        return out

    def survey(self, hidden: torch.Tensor, choosable: Choosable) -> Survey:
        """As a head over hidden fp32 or bf16 (N, K), without writing its logits."""
        penalty, end_ids = choosable.penalty, choosable.end_ids
        return library.head_survey(hidden.contiguous(), self.packed, penalty, end_ids)


@dataclass(frozen=True, slots=True)
class Int8LowRank:
    """A low-rank pair over an int8 layer; the rank is filled up with zeros to a whole group."""

    down: Int8Weight
    up: Int8Weight

    @classmethod
    def of(cls, down: torch.Tensor, up: torch.Tensor) -> Int8LowRank:
        """down (r, in) and up (out, r) of a layer that fits."""
        missing = -down.shape[0] % library.GROUP
        return cls(
            Int8Weight.of(F.pad(down, (0, 0, 0, missing))), Int8Weight.of(F.pad(up, (0, missing)))
        )

    def add(self, x: torch.Tensor, y: torch.Tensor) -> None:
        """y (N, out) += the pair's product for x (N, in); both contiguous."""
        low = self.down.product(x, None, torch.float32)
        library.linear(low, self.up.packed, None, y, add=True)
