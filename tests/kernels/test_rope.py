"""Rotation and storing of new keys and values against `engine.models.rotary`."""

from __future__ import annotations

from typing import NamedTuple

import pytest
import torch

from tests.kernels.closeness import assert_close

pytest.importorskip("triton", reason="triton is not installed")

from engine.kernels.rope import rope_store
from engine.kernels.twins import rope_store_twin

LAYER = 1


class Laid(NamedTuple):
    """Operands of a pass of R rows of T tokens over `length` cached ones."""

    qkv: torch.Tensor
    cos: torch.Tensor
    sin: torch.Tensor
    q_scale: torch.Tensor
    caches: list[tuple[torch.Tensor, torch.Tensor]]
    pointers: torch.Tensor
    length: torch.Tensor
    head_stride: torch.Tensor

    def new(self, R: int, T: int, K: int, D: int) -> tuple[torch.Tensor, torch.Tensor]:
        return tuple(self.qkv.new_full((R, T, K, D), float("nan")) for _ in range(2))


def laid_out(device: torch.device, dtype: torch.dtype, N: int, H: int, K: int, D: int) -> Laid:
    """Caches of three layers, full of NaN; position and head have their own angle and scale."""
    generator = torch.Generator().manual_seed(N + D)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator).to(device, dtype)

    length, capacity = 11, 11 + 64 + 5
    angles = torch.rand(N, D, generator=generator) * 100
    caches = [
        tuple(draw(K, capacity, D).fill_(float("nan")) for _ in range(2)) for _ in range(LAYER + 2)
    ]
    pointers = [[each.data_ptr() for each in pair] for pair in caches]
    return Laid(
        draw(N, (H + 2 * K) * D),
        angles.cos().to(device, dtype),
        angles.sin().to(device, dtype),
        draw(N),
        caches,
        torch.tensor(pointers, device=device),
        torch.tensor([length], device=device),
        torch.tensor([capacity * D], device=device),
    )


@pytest.mark.parametrize("scaled", [True, False])
@pytest.mark.parametrize(
    ("T", "H", "K", "D"), [(1, 4, 2, 64), (3, 14, 2, 16), (17, 3, 3, 128), (64, 1, 1, 32)]
)
def test_a_sequence_goes_behind_its_cache(
    device: torch.device, dtype: torch.dtype, T: int, H: int, K: int, D: int, scaled: bool
) -> None:
    one = laid_out(device, dtype, T, H, K, D)
    q_scale = one.q_scale if scaled else None
    expected_cache = tuple(each.clone() for each in one.caches[LAYER])
    rest = (q_scale, expected_cache, 11)
    expected_new = one.new(1, T, K, D)
    expected = rope_store_twin(one.qkv, one.cos, one.sin, *rest, *expected_new, H)
    new = one.new(1, T, K, D)
    where = (one.pointers, LAYER, one.length, one.head_stride)
    found = rope_store(one.qkv, one.cos, one.sin, q_scale, *where, *new, H, True)
    assert_close(found, expected)
    for each, twin in zip(new, expected_new, strict=True):
        assert_close(each, twin)
    for each, twin in zip(one.caches[LAYER], expected_cache, strict=True):
        assert torch.equal(each.isnan(), twin.isnan())
        assert_close(each.nan_to_num(), twin.nan_to_num())
    for layer in (0, 2):
        assert all(each.isnan().all() for each in one.caches[layer])


def test_bfloat16_is_rounded_as_torch_does(device: torch.device) -> None:
    """Products of bfloat16 are exact in fp32, so nothing is left to chance."""
    one = laid_out(device, torch.bfloat16, 17, 6, 2, 64)
    new, expected_new = one.new(1, 17, 2, 64), one.new(1, 17, 2, 64)
    where = (one.pointers, 0, one.length, one.head_stride)
    found = rope_store(one.qkv, one.cos, one.sin, one.q_scale, *where, *new, 6, False)
    twin = rope_store_twin(one.qkv, one.cos, one.sin, one.q_scale, None, 0, *expected_new, 6)
    assert torch.equal(found, twin)
    assert torch.equal(new[0], expected_new[0])
    assert torch.equal(new[1], expected_new[1])


def test_rows_leave_the_cache_alone(device: torch.device, dtype: torch.dtype) -> None:
    R, T, H, K, D = 4, 5, 6, 2, 32
    one = laid_out(device, dtype, R * T, H, K, D)
    new, expected_new = one.new(R, T, K, D), one.new(R, T, K, D)
    where = (one.pointers, LAYER, one.length, one.head_stride)
    out = torch.empty(R * T, H, D, device=device, dtype=dtype)
    found = rope_store(one.qkv, one.cos, one.sin, None, *where, *new, H, False, out=out)
    assert found is out
    assert_close(found, rope_store_twin(one.qkv, one.cos, one.sin, None, None, 0, *expected_new, H))
    assert_close(new[0], expected_new[0])
    assert_close(new[1], expected_new[1])
    assert all(each.isnan().all() for pair in one.caches for each in pair)


def test_the_length_is_read_on_the_device(device: torch.device) -> None:
    """The same tensors with another number in them: what a replayed graph sees."""
    one = laid_out(device, torch.float32, 2, 2, 1, 16)
    new = one.new(1, 2, 1, 16)
    where = (one.pointers, LAYER, one.length, one.head_stride)
    for length in (0, 40):
        one.length.fill_(length)
        rope_store(one.qkv, one.cos, one.sin, None, *where, *new, 2, True)
        values = one.caches[LAYER][1][0, length : length + 2]
        assert torch.equal(values, one.qkv[:, -16:])


def test_what_does_not_fit_is_named(device: torch.device) -> None:
    one = laid_out(device, torch.float32, 4, 2, 1, 16)
    rows, row = one.new(2, 2, 1, 16), one.new(1, 4, 1, 16)
    first = (one.qkv, one.cos, one.sin, None, one.pointers)
    rest = (one.length, one.head_stride)
    with pytest.raises(ValueError, match="2 sequences"):
        rope_store(*first, 0, *rest, *rows, 2, True)
    with pytest.raises(ValueError, match="3 query"):
        rope_store(*first, 0, *rest, *row, 3, False)
    with pytest.raises(ValueError, match="Layer 3"):
        rope_store(*first, 3, *rest, *row, 2, False)
    with pytest.raises(ValueError, match="one dtype"):
        rope_store(one.qkv.bfloat16(), *first[1:], 0, *rest, *row, 2, False)
    with pytest.raises(ValueError, match="head_dim 24"):
        odd = torch.zeros(4, 24, device=device)
        rope_store(one.qkv, odd, odd, None, one.pointers, 0, *rest, *row, 2, False)
