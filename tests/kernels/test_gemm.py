"""Products with rounded weights against unpacked ones: every kind, odd sizes, split and whole."""

from __future__ import annotations

import pytest
import torch

pytest.importorskip("triton", reason="triton is not installed")

from engine.kernels.gemm import MAX_ROWS, Plan, dequantise, plan_for, quantised_linear
from engine.quantised.rounding import KINDS, Kind
from engine.quantised.weight import QuantisedWeight, quantised_linear_twin

WHOLE = Plan(32, 99, 1)
# One block fewer in the last split; more splits than blocks leave one without any.
SPLITS = (Plan(32, 2, 4), Plan(64, 3, 3), Plan(16, 1, 9))


def draw(*shape: int, seed: int, device: torch.device) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(device)


def make(kind: Kind, M: int, K: int, device: torch.device) -> QuantisedWeight:
    """Rows of very different sizes, one of zeros, and outliers."""
    weight = draw(M, K, seed=1, device=device) * torch.logspace(-3, 1, M, device=device)[:, None]
    weight[0, :5] *= 20
    weight[M // 2] = 0
    return QuantisedWeight.of(weight, kind)


def assert_close(
    found: torch.Tensor, x: torch.Tensor, weight: QuantisedWeight, bias: torch.Tensor | None
) -> None:
    """`found` is the product in full width, rounded once: relative to each output, and to the sizes
    of the row and the column that it is the product of."""
    wide = None if bias is None else bias.float()
    expected = quantised_linear_twin(x.float(), weight, wide, torch.float32)
    assert found.shape == expected.shape and found.isfinite().all()
    sizes = x.float().norm(dim=1)[:, None] * weight.dequantise(torch.float32).norm(dim=1)
    step = torch.finfo(found.dtype).eps if found.dtype == torch.bfloat16 else 0.0
    bound = step * expected.abs() + 1e-6 * sizes + 1e-9
    assert ((found.float() - expected).abs() <= bound).all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("N", "M", "K"),
    [(1, 37, 64), (3, 130, 200), (17, 65, 448), (64, 33, 264), (9, 1, 7), (33, 70, 136)],
)
def test_products_are_those_of_the_unpacked_weight(
    device: torch.device, dtype: torch.dtype, kind: Kind, N: int, M: int, K: int
) -> None:
    weight = make(kind, M, K, device)
    x, bias = (draw(*shape, seed=2, device=device).to(dtype) for shape in ((N, K), (M,)))
    for given in (None, bias):
        found = quantised_linear(x, weight, given)
        assert found.dtype == dtype
        assert_close(found, x, weight, given)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("plan", [WHOLE, *SPLITS], ids=str)
def test_splits_change_nothing_but_rounding(
    device: torch.device, dtype: torch.dtype, kind: Kind, plan: Plan
) -> None:
    weight = make(kind, 70, 8 * 64 - 3, device)
    x, bias = (draw(*shape, seed=3, device=device).to(dtype) for shape in ((5, 509), (70,)))
    out = torch.full((5, 70), float("nan"), device=device, dtype=torch.float32)
    found = quantised_linear(x, weight, bias, plan=plan, out=out)
    assert found is out
    assert_close(out, x, weight, bias)
    assert torch.equal(quantised_linear(x, weight, bias, torch.float32, plan=plan), out)


@pytest.mark.parametrize("kind", KINDS)
def test_logits_are_not_rounded(device: torch.device, kind: Kind) -> None:
    weight = make(kind, 40, 192, device)
    x = draw(2, 192, seed=4, device=device).bfloat16()
    found = quantised_linear(x, weight, None, torch.float32)
    assert found.dtype == torch.float32
    assert_close(found, x, weight, None)


@pytest.mark.parametrize("kind", KINDS)
def test_many_rows_go_through_the_unpacked_weight(
    device: torch.device, dtype: torch.dtype, kind: Kind
) -> None:
    weight = make(kind, 20, 100, device)
    x, bias = (draw(*shape, seed=5, device=device).to(dtype) for shape in ((70, 100), (20,)))
    assert len(x) > MAX_ROWS
    found, expected = (
        quantised_linear(x, weight, bias),
        quantised_linear_twin(x, weight, bias, dtype),
    )
    assert found.dtype == dtype
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("M", "K"), [(37, 64), (130, 200), (1, 7), (65, 384)])
def test_unpacking_is_exact(
    device: torch.device, dtype: torch.dtype, kind: Kind, M: int, K: int
) -> None:
    weight = make(kind, M, K, device)
    assert torch.equal(dequantise(weight, dtype), weight.dequantise(dtype))


def test_every_fp8_number_is_read_exactly(device: torch.device, dtype: torch.dtype) -> None:
    codes = torch.arange(256, dtype=torch.uint8, device=device)
    codes = codes[codes & 0x7F != 0x7F]  # all but NaN
    scales = torch.ones(1, len(codes), dtype=torch.bfloat16, device=device)
    spread = torch.zeros(1, len(codes), 64, dtype=torch.uint8, device=device)
    spread[0, :, 0] = codes
    weight = QuantisedWeight("fp8", spread, scales, None, 64)
    exact = codes.view(torch.float8_e4m3fn).float()
    assert torch.equal(dequantise(weight, torch.float32)[:, 0], exact)
    x = torch.zeros(1, 64, dtype=dtype, device=device)
    x[0, 0] = 1
    assert torch.equal(quantised_linear(x, weight, None, torch.float32)[0], exact)


def test_a_row_does_not_depend_on_the_rows_beside_it(
    device: torch.device, dtype: torch.dtype
) -> None:
    """Up to the number of rows at which tiles get wider, on a GPU a matter of its matrix units."""
    weight = make("int4", 70, 320, device)
    x = draw(16, 320, seed=6, device=device).to(dtype)
    together = quantised_linear(x, weight, None)
    for number in (1, 2, 7):
        assert torch.equal(quantised_linear(x[:number], weight, None), together[:number])


def test_small_products_are_split_and_large_ones_are_not() -> None:
    assert plan_for(151_936, 7, 264).num_splits == 1
    small = plan_for(896, 7, 264)
    assert small == Plan(32, 1, 7)
    uneven = plan_for(896, 38, 264)
    assert uneven.num_splits * uneven.blocks_per_split >= 38
    assert (uneven.num_splits - 1) * uneven.blocks_per_split < 38
