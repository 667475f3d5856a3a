"""The int8 product: equal on every instruction set, equal to its torch twin, row by row."""

from __future__ import annotations

import threading

import pytest
import torch
import torch.nn.functional as F

from engine.models.linear import Linear, LowRank
from engine.native import library, twin
from engine.native.weight import Int8LowRank, Int8Weight

# Tile heights of all kernels and what lies beside them; odd numbers of tiles; more than a chunk.
ROWS = (*range(1, 14), 16, 17, 25, 33, 64, 97)
SHAPES = ((32, 64), (96, 320), (160, 896))


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def poisoned(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.full(shape, float("nan"), dtype=dtype)


def product(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    out = poisoned(x.shape[0], weight.shape[0])
    library.linear(x, Int8Weight.of(weight).packed, bias, out)
    return out


@pytest.mark.parametrize("shape", SHAPES)
def test_packing_is_the_twins_quantisation(kernels: str, shape: tuple[int, int]) -> None:
    weight = draw(*shape)
    weight[0, :64] = 0
    weight[1] *= 1e4
    values, scales = twin.quantise(weight)
    packed = Int8Weight.of(weight).packed
    assert torch.equal(twin.unpack(packed, *shape), (values * scales.unsqueeze(-1)).flatten(1))
    from_bf16 = Int8Weight.of(weight.bfloat16()).packed
    assert torch.equal(from_bf16, Int8Weight.of(weight.bfloat16().float()).packed)


@pytest.mark.parametrize("shape", SHAPES)
def test_product_is_that_of_the_twin(kernels: str, shape: tuple[int, int]) -> None:
    weight, bias = draw(*shape), draw(shape[0], seed=1)
    for num_rows in ROWS:
        x = draw(num_rows, shape[1], seed=num_rows)
        found = product(x, weight, bias)
        torch.testing.assert_close(found, twin.linear(x, weight, bias), atol=2e-4, rtol=1e-5)


@pytest.mark.parametrize("num_rows", ROWS)
def test_all_kernels_agree_bit_for_bit(kernels: str, num_rows: int) -> None:
    x, weight = draw(num_rows, 320), draw(96, 320, seed=1)
    found = product(x, weight, None)
    assert library.choose_kernels("scalar")
    assert torch.equal(found, product(x, weight, None))


def test_a_row_does_not_depend_on_the_rows_beside_it(kernels: str) -> None:
    x, weight = draw(97, 320), draw(96, 320, seed=1)
    together = product(x, weight, None)
    for num_rows in ROWS:
        assert torch.equal(product(x[-num_rows:].contiguous(), weight, None), together[-num_rows:])


def test_many_rows(built: None) -> None:
    x, weight = draw(600, 128), draw(64, 128, seed=1)
    torch.testing.assert_close(
        product(x, weight, None), twin.linear(x, weight), atol=2e-4, rtol=1e-5
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_types_in_and_out(kernels: str, dtype: torch.dtype) -> None:
    x, weight, bias = draw(5, 192).to(dtype), draw(64, 192, seed=1), draw(64, seed=2)
    out = poisoned(5, 64, dtype=dtype)
    library.linear(x, Int8Weight.of(weight).packed, bias, out)
    assert torch.equal(out, product(x.float(), weight, bias).to(dtype))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_is_fused_equals_its_parts(kernels: str, dtype: torch.dtype) -> None:
    weight, bias, base = draw(64, 192, seed=1), draw(64, seed=2), draw(7, 64, seed=3)
    packed, kept = Int8Weight.of(weight).packed, poisoned(7, 192, dtype=dtype)

    norm, x = 1 + 0.1 * draw(192, seed=4), draw(7, 192, seed=5)
    out = poisoned(7, 64)
    library.linear(x, packed, bias, out, before=(norm, 1e-6), keep_input=kept)
    normed = F.rms_norm(x, (192,), norm, 1e-6)
    torch.testing.assert_close(kept, normed.to(dtype), atol=1e-5, rtol=1e-2)
    if dtype == torch.float32:
        assert torch.equal(out, product(kept, weight, bias))

    gate_up, kept = 4 * draw(7, 384, seed=6), poisoned(7, 192, dtype=dtype)
    out = base.clone()
    library.linear(gate_up, packed, bias, out, before="silu", add=True, keep_input=kept)
    gate, up = gate_up.chunk(2, dim=1)
    torch.testing.assert_close(kept, (F.silu(gate) * up).to(dtype), atol=1e-5, rtol=1e-2)
    if dtype == torch.float32:
        assert torch.equal(out, base + product(kept, weight, bias))


def test_what_is_not_finite_stays_in_its_row_and_is_not_hidden(kernels: str) -> None:
    x, weight = draw(9, 192), draw(64, 192, seed=1)
    expected = product(x, weight, None)
    x[4, 70], x[6, 0] = float("nan"), float("inf")
    found = product(x, weight, None)
    bad = torch.zeros(9, dtype=torch.bool)
    bad[[4, 6]] = True
    assert torch.equal(found[~bad], expected[~bad])
    assert not torch.isfinite(found[bad]).any()


def test_zeros_give_zeros(kernels: str) -> None:
    assert not product(torch.zeros(3, 128), draw(32, 128), None).any()
    assert not product(draw(3, 128), torch.zeros(32, 128), None).any()


@pytest.mark.parametrize("num_threads", [1, 2, 3])
def test_threads_change_nothing(threads: None, num_threads: int) -> None:
    x, weight = draw(11, 320), draw(1600, 320, seed=1)
    library.set_threads(1)
    expected = product(x, weight, None)
    library.set_threads(num_threads)
    for _ in range(50):
        assert torch.equal(product(x, weight, None), expected)


@pytest.mark.timeout(120, method="thread")
@pytest.mark.parametrize("num_threads", [2, 4])
def test_steps_of_other_sizes_follow_at_once(threads: None, num_threads: int) -> None:
    """A thread that is late in one step takes nothing of the next, however many chunks that has."""
    weights = [Int8Weight.of(draw(32 * columns, 64)) for columns in (3, 40, 200, 2)]
    cases = [(weight, draw(rows, 64, seed=rows)) for weight in weights for rows in (1, 5, 9)]
    library.set_threads(1)
    expected = [weight.product(x, None, torch.float32) for weight, x in cases]
    library.set_threads(num_threads)
    for _ in range(5_000):
        for (weight, x), right in zip(cases, expected, strict=True):
            # A chunk that is done twice adds twice.
            found = torch.zeros_like(right)
            library.linear(x, weight.packed, None, found, add=True)
            assert torch.equal(found, right)


def test_two_callers_do_not_mix(threads: None) -> None:
    library.set_threads(2)
    weight = Int8Weight.of(draw(320, 320))
    inputs = [draw(rows, 320, seed=rows) for rows in (1, 9)]
    expected = [weight.product(x, None, torch.float32) for x in inputs]
    wrong: list[int] = []

    def call(which: int) -> None:
        for _ in range(100):
            if not torch.equal(weight.product(inputs[which], None, torch.float32), expected[which]):
                wrong.append(which)

    callers = [threading.Thread(target=call, args=(which,)) for which in (0, 1)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert not wrong


def test_no_rows_at_all(built: None) -> None:
    assert product(torch.empty(0, 64), draw(32, 64), None).shape == (0, 32)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("rows", [slice(2, 5), slice(None), torch.tensor([0, 3])])
def test_an_adapter_acts_on_its_rows_alone(
    built: None, dtype: torch.dtype, rows: torch.Tensor | slice
) -> None:
    weight, bias, x = draw(96, 64), draw(96, seed=1), draw(7, 64, seed=2).to(dtype)
    linear = Linear(Int8Weight.of(weight), bias.to(dtype), packed=False)
    base = linear(x)
    assert base.dtype == dtype
    down, up = draw(6, 64, seed=3).to(dtype), draw(96, 6, seed=4).to(dtype)
    linear.adapter = LowRank(down, up)
    found = linear(x, rows)
    others = torch.ones(7, dtype=torch.bool)
    others[rows] = False
    assert torch.equal(found[others], base[others])
    expected = x[rows].float() @ down.float().T @ up.float().T
    delta = found[rows].float() - base[rows].float()
    assert float((delta - expected).std() / expected.std()) < 0.03
    assert torch.equal(linear.in_float(x).to(dtype), base)


@pytest.mark.parametrize("rows", [slice(0, 1), slice(2, 5), slice(None), slice(3, 3)])
def test_a_fused_adapter_is_that_of_the_linear_layer(kernels: str, rows: slice) -> None:
    x, weight, bias = draw(7, 192), draw(96, 192, seed=1), draw(96, seed=2)
    linear = Linear(Int8Weight.of(weight), bias, packed=False)
    linear.adapter = LowRank(draw(6, 192, seed=3), draw(96, 6, seed=4))
    pair = linear.adapter
    assert isinstance(pair, Int8LowRank)
    expected = linear(x, rows)
    found = poisoned(7, 96)
    adapter = (pair.down.packed, pair.up.packed, rows)
    library.linear(x, Int8Weight.of(weight).packed, bias, found, adapter=adapter)
    assert torch.equal(found, expected)
