"""One rounded weight, laid out for `engine.kernels.gemm`: block after block of inputs, so that what
one program reads at a time lies together."""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F

from engine.quantised.rounding import Kind, block_of, round_fp8, round_int4, round_int8

# Weights that are rounded at once, in a few copies in fp32.
_PIECE = 2**22


@dataclass(frozen=True, slots=True)
class QuantisedWeight:
    """A weight (num_outputs, num_inputs); the last block of inputs is filled up with zeros.

    codes: int8 (num_blocks, num_outputs, block) for ``int8``; uint8 of the same shape, the bits of
    e4m3 numbers, for ``fp8``; uint8 (num_blocks, num_outputs, block // 2) for ``int4``, the first
    half of a block in the low four bits. scales bf16 (num_groups, num_outputs): a group is a block
    of ``int8``, half of one of ``int4``, and all inputs of ``fp8``. zeros uint8 (num_groups,
    num_outputs), the code of 0, for ``int4`` only.
    """

    kind: Kind
    codes: torch.Tensor
    scales: torch.Tensor
    zeros: torch.Tensor | None
    num_inputs: int

    @classmethod
    def of(cls, weight: torch.Tensor, kind: Kind) -> QuantisedWeight:
        """Round (M, K) of any floating dtype, on the device where it lies."""
        K = weight.shape[1]
        rows = max(1, _PIECE // K)
        pieces = [_rounded(piece.float(), kind) for piece in torch.split(weight, rows)]
        codes, scales, zeros = zip(*pieces, strict=True)
        joined = None if zeros[0] is None else torch.cat(zeros, dim=1)
        return cls(kind, torch.cat(codes, dim=1), torch.cat(scales, dim=1), joined, K)

    @property
    def num_outputs(self) -> int:
        return self.codes.shape[1]

    @property
    def block(self) -> int:
        """Inputs of a block."""
        return self.codes.shape[2] * (2 if self.kind == "int4" else 1)

    @property
    def nbytes(self) -> int:
        tensors = (self.codes, self.scales, self.zeros)
        return sum(each.nbytes for each in tensors if each is not None)

    def numel(self) -> int:
        """Weights, as of a tensor."""
        return self.num_outputs * self.num_inputs

    def to(self, device: torch.device) -> QuantisedWeight:
        zeros = None if self.zeros is None else self.zeros.to(device)
        return replace(
            self, codes=self.codes.to(device), scales=self.scales.to(device), zeros=zeros
        )

    def dequantise(self, dtype: torch.dtype) -> torch.Tensor:
        """(num_outputs, num_inputs). Codes and scales are bf16 numbers, so that a product rounded
        to bf16 is rounded once."""
        steps = _steps(self).to(dtype)
        values = steps * self.scales.to(dtype).unsqueeze(-1)
        # (groups, M, inputs of each) -> (M, K)
        joined = values.transpose(0, 1).reshape(self.num_outputs, -1)
        return joined[:, : self.num_inputs].contiguous()

    def product(
        self, x: torch.Tensor, bias: torch.Tensor | None, dtype: torch.dtype
    ) -> torch.Tensor:
        """x (N, num_inputs) -> (N, num_outputs) of `dtype`; by the kernel where there is one."""
        if _has_kernels(x.device):
            from engine.kernels.gemm import quantised_linear

            return quantised_linear(x, self, bias, dtype)
        return quantised_linear_twin(x, self, bias, dtype)


def quantised_linear_twin(
    x: torch.Tensor, weight: QuantisedWeight, bias: torch.Tensor | None, dtype: torch.dtype
) -> torch.Tensor:
    """The slow twin of `engine.kernels.gemm.quantised_linear`."""
    bias = None if bias is None else bias.to(x.dtype)
    return F.linear(x, weight.dequantise(x.dtype), bias).to(dtype)


@functools.cache
def _has_kernels(device: torch.device) -> bool:
    from engine.kernels import problem

    # On a CPU only the interpreter could run them, which is for tests.
    return device.type == "cuda" and problem(device) is None


def _steps(weight: QuantisedWeight) -> torch.Tensor:
    """The codes as numbers (groups, num_outputs, inputs of each), in which a scale is one."""
    if weight.kind == "fp8":
        return weight.codes.view(torch.float8_e4m3fn).float()
    if weight.zeros is None:
        return weight.codes
    halves = torch.stack((weight.codes & 15, weight.codes >> 4), dim=1).flatten(0, 1)
    return halves.to(torch.int8) - weight.zeros.to(torch.int8).unsqueeze(-1)


def _rounded(
    weight: torch.Tensor, kind: Kind
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
    """codes, scales and zeros of fp32 (M, K)."""
    block = block_of(weight.shape[1])
    group = block // 2 if kind == "int4" else block
    filled = F.pad(weight, (0, -weight.shape[1] % block))
    groups = filled.view(len(weight), -1, group).transpose(0, 1).contiguous()
    if kind == "int8":
        return *round_int8(groups), None
    if kind == "fp8":
        return *round_fp8(groups), None
    codes, scales, zeros = round_int4(groups)
    return codes[::2] | codes[1::2] << 4, scales, zeros
