"""Matrices stored as int8 with one fp32 scale a row: half the size of bf16, for adapters in a
repository. The largest magnitude of a row becomes 127; the error is at most half a step of it."""

from __future__ import annotations

import torch

SCALE_SUFFIX = ".int8_scale"
"""Appended to a tensor's name, it names the tensor (rows,) of its scales."""


def quantize_rows(matrix: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(rows, columns) -> int8 of that shape and fp32 (rows,)."""
    values = matrix.float()
    scale = values.abs().amax(dim=1) / 127
    # A row of zeros has no scale; any will do.
    safe = torch.where(scale > 0, scale, torch.ones_like(scale))
    return (values / safe.unsqueeze(1)).round().clamp(-127, 127).to(torch.int8), scale


def dequantize_rows(values: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """The bf16 matrix that int8 (rows, columns) and fp32 (rows,) stand for."""
    return (values.float() * scale.unsqueeze(1)).to(torch.bfloat16)
