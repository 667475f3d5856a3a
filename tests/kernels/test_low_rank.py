"""The low-rank adapter on gated rows against two plain products."""

from __future__ import annotations

from typing import NamedTuple

import pytest
import torch

from tests.kernels.closeness import assert_close

pytest.importorskip("triton", reason="triton is not installed")

from engine.kernels.low_rank import add_low_rank
from engine.kernels.twins import add_low_rank_twin


class Operands(NamedTuple):
    x: torch.Tensor
    down: torch.Tensor
    up: torch.Tensor
    gate: torch.Tensor
    y: torch.Tensor


def drawn(device: torch.device, dtype: torch.dtype, N: int, C: int, rank: int, M: int) -> Operands:
    """Every other row is gated."""
    generator = torch.Generator().manual_seed(N + M)
    shapes = ((N, C), (rank, C), (M, rank), (N, M))
    x, down, up, y = (torch.randn(s, generator=generator).to(device, dtype) for s in shapes)
    return Operands(x, down, up, torch.arange(N, device=device) % 2 == 0, y)


@pytest.mark.parametrize(
    ("N", "C", "rank", "M"),
    [
        (1, 16, 1, 16),
        (3, 100, 8, 33),
        (17, 896, 96, 130),
        (64, 1300, 33, 65),
        (2, 64, 128, 256),
    ],
)
def test_gated_rows_get_the_adapter(
    device: torch.device, dtype: torch.dtype, N: int, C: int, rank: int, M: int
) -> None:
    one = drawn(device, dtype, N, C, rank, M)
    expected, before = one.y.clone(), one.y.clone()
    add_low_rank_twin(*one[:4], expected)
    add_low_rank(*one)
    assert_close(one.y, expected)
    assert not torch.equal(one.y[0], before[0])
    assert torch.equal(one.y[1::2], before[1::2])


def test_no_row_or_all_of_them(device: torch.device, dtype: torch.dtype) -> None:
    one = drawn(device, dtype, 6, 70, 20, 50)
    before = one.y.clone()
    add_low_rank(one.x, one.down, one.up, torch.zeros_like(one.gate), one.y)
    assert torch.equal(one.y, before)
    add_low_rank(one.x, one.down, one.up, torch.ones_like(one.gate), one.y)
    expected = before.clone()
    add_low_rank_twin(one.x, one.down, one.up, torch.ones_like(one.gate), expected)
    assert_close(one.y, expected)


def test_rows_that_are_not_gated_may_hold_anything(device: torch.device) -> None:
    one = drawn(device, torch.float32, 4, 40, 8, 24)
    one.x[1::2] = float("nan")
    one.y[1::2] = float("inf")
    add_low_rank(*one)
    assert one.y[::2].isfinite().all()
    assert one.y[1::2].isinf().all()


def test_what_does_not_fit_is_named(device: torch.device) -> None:
    one = drawn(device, torch.float32, 4, 40, 8, 24)
    with pytest.raises(ValueError, match="do not lead"):
        add_low_rank(one.x, one.up, one.down, one.gate, one.y)
    with pytest.raises(ValueError, match="gate must be bool"):
        add_low_rank(*one[:3], one.gate.float(), one.y)
    with pytest.raises(ValueError, match="one dtype"):
        add_low_rank(*one[:4], one.y.bfloat16())
    with pytest.raises(ValueError, match="65 rows"):
        add_low_rank(*drawn(device, torch.float32, 65, 40, 8, 24))
