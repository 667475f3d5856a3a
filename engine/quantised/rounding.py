"""How weights become codes: int8 and int4 by groups of inputs, fp8 (e4m3) by output.

int4 spreads its 16 steps from the smallest to the largest weight of a group (asymmetric, round to
nearest). Cutting the largest weights off for a smaller squared error was tried and makes the
model's predictions worse (docs/quantisation.md).
"""

from __future__ import annotations

from typing import Literal

import torch

Kind = Literal["int8", "int4", "fp8"]
KINDS: tuple[Kind, ...] = ("int8", "int4", "fp8")

_BLOCKS = (128, 64)
_MOST_INT8 = 127
_MOST_INT4 = 15
_MOST_FP8 = 448.0
_TINY = 1e-30


def head_kind(kind: Kind) -> Kind:
    """How the head is rounded where the layers are `kind`: four bits are too few for it."""
    return "int8" if kind == "int4" else kind


def block_of(num_inputs: int) -> int:
    """Inputs whose codes lie together: a group of int8, two groups of int4."""
    return next((block for block in _BLOCKS if num_inputs % block == 0), _BLOCKS[-1])


def round_int8(groups: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """fp32 (G, M, group) -> int8 codes of that shape and bf16 scales (G, M)."""
    scales = _scales(groups.abs().amax(dim=-1) / _MOST_INT8)
    steps = groups / scales.float().unsqueeze(-1)
    return steps.round_().clamp_(-_MOST_INT8, _MOST_INT8).to(torch.int8), scales


def round_int4(groups: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """fp32 (G, M, group) -> uint8 codes of that shape, 0 to 15; bf16 scales and uint8 zeros
    (G, M): a weight is about (code - zero) * scale, and 0 is exact."""
    low, high = groups.amin(dim=-1).clamp_(max=0), groups.amax(dim=-1).clamp_(min=0)
    scales = _scales((high - low) / _MOST_INT4)
    width = scales.float()
    zeros = (-low / width).round_().clamp_(0, _MOST_INT4)
    steps = (groups / width.unsqueeze(-1)).add_(zeros.unsqueeze(-1)).round_()
    return steps.clamp_(0, _MOST_INT4).to(torch.uint8), scales, zeros.to(torch.uint8)


def round_fp8(groups: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """fp32 (G, M, group) -> uint8 bits of e4m3 numbers of that shape and bf16 scales (1, M)."""
    scales = _scales(groups.abs().amax(dim=-1).amax(dim=0, keepdim=True) / _MOST_FP8)
    steps = (groups / scales.float().unsqueeze(-1)).clamp_(-_MOST_FP8, _MOST_FP8)
    return steps.to(torch.float8_e4m3fn).view(torch.uint8), scales


def _scales(found: torch.Tensor) -> torch.Tensor:
    """As bf16, in which they are kept: codes must be those for the scale that is used."""
    return found.clamp(min=_TINY).bfloat16()
