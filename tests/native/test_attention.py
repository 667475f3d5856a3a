"""Rotation, cache write and attention in one call, against the decoder's own torch functions."""

from __future__ import annotations

from typing import NamedTuple

import pytest
import torch

from engine.models.attention import attend, causal_mask
from engine.models.rotary import rotate
from engine.native import library


class Case(NamedTuple):
    T: int
    length: int
    num_heads: int = 4
    num_kv_heads: int = 2
    head_dim: int = 64


# Around the tiles of 64 positions and the chunks of 8 tokens; odd groups; other head widths.
CASES = [
    Case(1, 0),
    Case(1, 63),
    Case(1, 64),
    Case(3, 200),
    Case(8, 61),
    Case(9, 127, num_heads=7, num_kv_heads=1),
    Case(17, 5, num_heads=14),
    Case(70, 30),
    Case(5, 90, head_dim=128),
]


def draw(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


class Inputs:
    """Random tensors of one case; memory that nothing should read is NaN."""

    def __init__(self, case: Case, dtype: torch.dtype) -> None:
        self.case = case
        heads = case.num_heads + 2 * case.num_kv_heads
        self.qkv = draw(case.T, heads * case.head_dim, seed=1)
        half = draw(case.T, case.head_dim // 2, seed=2)
        angles = torch.cat((half, half), dim=1)
        self.angles = (angles.cos(), angles.sin())
        shape = (case.num_kv_heads, 512, case.head_dim)
        self.keys, self.values = (torch.full(shape, float("nan"), dtype=dtype) for _ in range(2))
        for number, store in enumerate((self.keys, self.values)):
            old = draw(case.num_kv_heads, case.length, case.head_dim, seed=3 + number)
            store[:, : case.length] = old

    def run(
        self,
        visible: torch.Tensor | None,
        scale: torch.Tensor | None = None,
        rows: int | None = None,
    ) -> torch.Tensor:
        """fp32 (rows, H * D) for the first `rows` tokens."""
        rows = rows or self.case.T
        out = torch.full((rows, self.case.num_heads * self.case.head_dim), float("nan"))
        angles = (self.angles[0][:rows], self.angles[1][:rows])
        cache = (self.keys, self.values)
        if visible is not None:
            visible = visible[:rows, :rows]
        library.attention(self.qkv[:rows], angles, scale, cache, self.case.length, visible, out)
        return out

    def expected(self, visible: torch.Tensor | None, scale: torch.Tensor | None) -> torch.Tensor:
        c, dtype = self.case, self.keys.dtype
        split = self.qkv.view(c.T, -1, c.head_dim)
        q, k, v = split.split([c.num_heads, c.num_kv_heads, c.num_kv_heads], dim=1)
        cos, sin = (each.unsqueeze(1) for each in self.angles)
        q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        q = q if scale is None else q * scale.view(-1, 1, 1)
        keys = torch.cat((self.keys[:, : c.length], k.transpose(0, 1).to(dtype)), dim=1)
        values = torch.cat((self.values[:, : c.length], v.transpose(0, 1).to(dtype)), dim=1)
        return attend(
            q.unsqueeze(0), keys.float().unsqueeze(0), values.float().unsqueeze(0), visible
        ).squeeze(0)


def masks(T: int) -> list[torch.Tensor | None]:
    generator = torch.Generator().manual_seed(T)
    scattered = torch.rand(T, T, generator=generator) < 0.4
    return [None, causal_mask(T, torch.device("cpu")), scattered | torch.eye(T, dtype=torch.bool)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_attention_is_that_of_torch(kernels: str, case: Case, dtype: torch.dtype) -> None:
    for visible in masks(case.T):
        inputs = Inputs(case, dtype)
        expected = inputs.expected(visible, None)
        torch.testing.assert_close(inputs.run(visible), expected, atol=2e-5, rtol=1e-4)


def test_the_cache_gets_rotated_keys_and_values(kernels: str) -> None:
    case = Case(9, 61)
    inputs = Inputs(case, torch.bfloat16)
    before = inputs.keys.clone(), inputs.values.clone()
    inputs.run(None)
    split = inputs.qkv.view(case.T, -1, case.head_dim)
    cos, sin = (each.unsqueeze(1) for each in inputs.angles)
    k = rotate(split[:, 4:6], cos, sin).transpose(0, 1)
    new = slice(case.length, case.length + case.T)
    torch.testing.assert_close(inputs.keys[:, new].float(), k, atol=1e-2, rtol=1e-2)
    assert torch.equal(inputs.values[:, new], split[:, 6:].transpose(0, 1).bfloat16())
    for store, old in zip((inputs.keys, inputs.values), before, strict=True):
        assert torch.equal(store[:, : case.length], old[:, : case.length])
        assert store[:, new.stop :].isnan().all()


def test_the_query_scale_is_applied(kernels: str) -> None:
    inputs, scale = Inputs(Case(5, 40), torch.float32), 1 + draw(5, seed=9).abs()
    expected = inputs.expected(None, scale)
    torch.testing.assert_close(inputs.run(None, scale), expected, atol=2e-5, rtol=1e-4)


def test_a_row_does_not_depend_on_rows_that_it_does_not_see(kernels: str) -> None:
    case = Case(20, 100)
    causal = causal_mask(case.T, torch.device("cpu"))
    together = Inputs(case, torch.bfloat16).run(causal)
    for rows in (1, 2, 7, 13):
        assert torch.equal(Inputs(case, torch.bfloat16).run(causal, rows=rows), together[:rows])


@pytest.mark.parametrize("num_threads", [2, 3])
def test_threads_change_nothing(threads: None, num_threads: int) -> None:
    expected = Inputs(Case(40, 100), torch.float32).run(None)
    library.set_threads(num_threads)
    for _ in range(20):
        assert torch.equal(Inputs(Case(40, 100), torch.float32).run(None), expected)
