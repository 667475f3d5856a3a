"""RMSNorm against torch's."""

from __future__ import annotations

import pytest
import torch

from tests.kernels.closeness import assert_close

pytest.importorskip("triton", reason="triton is not installed")

from engine.kernels.norm import rms_norm
from engine.kernels.twins import rms_norm_twin

SHAPES = [(1, 1), (3, 100), (17, 896), (64, 257), (1, 5120)]


def drawn(device: torch.device, dtype: torch.dtype, *shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape))).to(device, dtype)


@pytest.mark.parametrize(("N", "C"), SHAPES)
def test_the_norm_is_torchs(device: torch.device, dtype: torch.dtype, N: int, C: int) -> None:
    x, weight = drawn(device, dtype, N, C), drawn(device, dtype, C)
    normed, summed = rms_norm(x, weight, 1e-5, None)
    assert_close(normed, rms_norm_twin(x, weight, 1e-5, None)[0])
    assert summed is x


@pytest.mark.parametrize(("N", "C"), SHAPES)
def test_the_residual_is_added_before(
    device: torch.device, dtype: torch.dtype, N: int, C: int
) -> None:
    x, residual = drawn(device, dtype, N, C), drawn(device, dtype, N, C).flip(0) * 3
    weight = drawn(device, dtype, C)
    normed, summed = rms_norm(x, weight, 1e-6, residual)
    expected_normed, expected_summed = rms_norm_twin(x, weight, 1e-6, residual)
    assert torch.equal(summed, expected_summed)
    assert_close(normed, expected_normed)


def test_given_buffers_are_written(device: torch.device, dtype: torch.dtype) -> None:
    x, residual, weight = (drawn(device, dtype, *s) for s in ((5, 70), (5, 70), (70,)))
    expected = rms_norm_twin(x, weight, 1e-5, residual)
    out = torch.empty_like(x)
    found = rms_norm(x, weight, 1e-5, residual, out=out, summed=residual)
    assert found[0] is out and found[1] is residual
    assert torch.equal(residual, expected[1])
    assert_close(out, expected[0])


def test_small_and_large_rows_keep_their_precision(device: torch.device) -> None:
    """eps matters for small rows, and squares of bfloat16 are summed in fp32."""
    x = torch.stack([torch.full((300,), 1e-4), torch.full((300,), 200.0)]).to(device).bfloat16()
    weight = torch.ones(300, device=device, dtype=torch.bfloat16)
    found, _ = rms_norm(x, weight, 1e-5, None)
    assert_close(found[0], rms_norm_twin(x, weight, 1e-5, None)[0][0])
    assert torch.equal(found[1], torch.ones_like(found[1]))


def test_wrong_shapes_are_named(device: torch.device) -> None:
    x = torch.zeros(2, 8, device=device)
    with pytest.raises(ValueError, match="weight"):
        rms_norm(x, torch.zeros(9, device=device), 1e-5, None)
    with pytest.raises(ValueError, match="residual"):
        rms_norm(x, torch.zeros(8, device=device), 1e-5, torch.zeros(1, 8, device=device))
