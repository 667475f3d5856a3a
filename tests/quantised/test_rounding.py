"""Weights as codes: how far they are off, what is exact, and how much they take."""

from __future__ import annotations

import pytest
import torch

from engine.quantised.rounding import KINDS, Kind, block_of, head_kind, round_int4
from engine.quantised.weight import QuantisedWeight, quantised_linear_twin

BYTES_PER_WEIGHT = {"int8": 1 + 2 / 128, "int4": 0.5 + 3 / 64, "fp8": 1 + 2 / 1024}


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def by_group(weight: torch.Tensor, group: int) -> torch.Tensor:
    """(M, groups, group)."""
    filled = torch.nn.functional.pad(weight, (0, -weight.shape[1] % group))
    return filled.view(len(weight), -1, group)


@pytest.mark.parametrize("K", [7, 64, 100, 192, 896])
def test_an_int8_weight_is_off_by_half_a_step_at_most(K: int) -> None:
    weight = draw(33, K) * torch.logspace(-6, 3, 33)[:, None]
    found = QuantisedWeight.of(weight, "int8").dequantise(torch.float32)
    groups = by_group(weight, block_of(K))
    step = groups.abs().amax(dim=-1, keepdim=True) / 127
    # The scale is rounded to bf16: half an ulp of it at each of up to 127 steps.
    bound = step * (0.5 + 127 * 2**-8)
    assert (by_group(found - weight, block_of(K)).abs() <= bound).all()
    relative = (found - weight).norm(dim=1) / weight.norm(dim=1)
    assert (relative < 0.012).all()


@pytest.mark.parametrize("K", [7, 64, 100, 192, 896])
def test_an_int4_weight_is_off_by_half_a_step_at_most(K: int) -> None:
    weight = draw(33, K) * torch.logspace(-6, 3, 33)[:, None]
    weight[5] += 3
    weight[6] -= 3
    found = QuantisedWeight.of(weight, "int4").dequantise(torch.float32)
    groups = by_group(weight, block_of(K) // 2)
    low, high = groups.amin(dim=-1).clamp(max=0), groups.amax(dim=-1).clamp(min=0)
    step = (high - low) / 15
    # At the ends another half a step, by which the zero was rounded, and the scale's own rounding.
    bound = step * (1.0 + 15 * 2**-8)
    assert (by_group(found - weight, block_of(K) // 2).abs() <= bound[..., None]).all()


@pytest.mark.parametrize("K", [7, 64, 100, 896])
def test_fp8_weights_are_torchs_own(K: int) -> None:
    weight = draw(9, K) * torch.logspace(-6, 3, 9)[:, None]
    found = QuantisedWeight.of(weight, "fp8").dequantise(torch.float32)
    scales = (weight.abs().amax(dim=1, keepdim=True) / 448).bfloat16().float()
    rounded = (weight / scales).clamp(-448, 448).to(torch.float8_e4m3fn).float()
    assert torch.equal(found, rounded * scales)


@pytest.mark.parametrize("kind", KINDS)
def test_zeros_and_an_empty_row_are_exact(kind: Kind) -> None:
    weight = draw(4, 130)
    weight[1] = 0
    weight[:, ::3] = 0
    weight[2].abs_()
    weight[3] = weight[3].abs().neg()
    found = QuantisedWeight.of(weight, kind).dequantise(torch.float32)
    assert (found[weight == 0] == 0).all() and found[1].count_nonzero() == 0
    assert found[0].count_nonzero() > 0


def test_int4_uses_all_its_steps() -> None:
    groups = torch.linspace(-1, 2, 64).view(1, 1, 64)
    codes, scales, zeros = round_int4(groups)
    assert codes.unique().tolist() == list(range(16))
    assert scales.item() == pytest.approx(0.2, rel=2**-8) and zeros.item() == 5


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_was_rounded_stays_as_it_is(kind: Kind, dtype: torch.dtype) -> None:
    """Rounding is of each piece by itself: rows do not depend on the others, or on their number."""
    weight = draw(50, 200).to(dtype)
    whole = QuantisedWeight.of(weight, kind).dequantise(dtype)
    assert whole.dtype == dtype and whole.shape == weight.shape
    assert torch.equal(QuantisedWeight.of(weight[7:9], kind).dequantise(dtype), whole[7:9])
    if dtype == torch.bfloat16:
        exact = QuantisedWeight.of(weight, kind).dequantise(torch.float32)
        assert torch.equal(exact.bfloat16(), whole)


def test_large_weights_are_rounded_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    weight = draw(20, 128)
    whole = [QuantisedWeight.of(weight, kind) for kind in KINDS]
    monkeypatch.setattr("engine.quantised.weight._PIECE", 3 * 128)
    for expected in whole:
        found = QuantisedWeight.of(weight, expected.kind)
        assert torch.equal(found.codes, expected.codes)
        assert torch.equal(found.scales, expected.scales)
        if expected.zeros is not None:
            assert found.zeros is not None and torch.equal(found.zeros, expected.zeros)


@pytest.mark.parametrize("kind", KINDS)
def test_sizes(kind: Kind) -> None:
    weight = QuantisedWeight.of(draw(64, 1024), kind)
    assert weight.numel() == 64 * 1024
    assert weight.nbytes == BYTES_PER_WEIGHT[kind] * weight.numel()


@pytest.mark.parametrize("kind", KINDS)
def test_a_product_is_that_of_the_values(kind: Kind) -> None:
    weight, bias = QuantisedWeight.of(draw(30, 100), kind), draw(30, seed=2)
    x = draw(5, 100, seed=1).bfloat16()
    found = weight.product(x, bias, torch.float32)
    assert torch.equal(found, quantised_linear_twin(x, weight, bias, torch.float32))
    expected = torch.nn.functional.linear(
        x, weight.dequantise(torch.bfloat16), bias.bfloat16()
    ).float()
    assert torch.equal(found, expected)


def test_the_head_keeps_eight_bits() -> None:
    assert [head_kind(kind) for kind in KINDS] == ["int8", "int8", "fp8"]
