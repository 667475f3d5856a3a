"""Self-check of the kernels against the twin, at the start of an engine that may use them."""

from __future__ import annotations

import torch

from engine.native import NativeError, library, twin
from engine.native.weight import Int8Weight

_M, _K = 96, 192
_TOLERANCE = 1e-5


def check() -> None:
    """Raises NativeError when a product is off."""
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(_M, _K, generator=generator)
    bias = torch.randn(_M, generator=generator)
    packed = Int8Weight.of(weight).packed
    for num_rows in (1, 8, 33):
        x = torch.randn(num_rows, _K, generator=generator)
        expected = twin.linear(x, weight, bias)
        found = torch.full_like(expected, float("nan"))
        library.linear(x, packed, bias, found)
        error = float((found - expected).abs().max() / expected.abs().max())
        if not error < _TOLERANCE:
            raise NativeError(
                f"the int8 product of the {library.kernels()} kernels is off by {error:.1e}"
            )
