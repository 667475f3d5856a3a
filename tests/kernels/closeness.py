"""How close a kernel must come to its twin."""

from __future__ import annotations

import torch

# Relative to the largest value: sums are taken in another order, and bfloat16 has 8 bits.
_TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 2.0**-7}


def assert_close(found: torch.Tensor, expected: torch.Tensor) -> None:
    """Same shape, dtype and, up to rounding, values; NaN is never close to anything."""
    tolerance = _TOLERANCE[expected.dtype]
    scale = float(expected.abs().max()) if expected.numel() else 0.0
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance * scale)
