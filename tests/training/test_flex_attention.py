"""FlexAttention against the dense plan, and its coarse map of tiles against the exact mask."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.attention import flex_attention as torch_flex

from engine.training.flex_attention import TILE, FlexPlan
from engine.training.objective import clean_rows
from engine.training.packed_attention import DensePlan, plan_attention
from engine.training.rows import Rows, visible
from tests.training.networks import CPU, load_network, rows_of

_HEADS, _KV_HEADS, _HEAD_DIM = 4, 2, 16

pytestmark = pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")


def batch_of(seed: int, lengths: list[int], num_blocks: int) -> tuple[Rows, Rows]:
    """Clean rows of documents, and noisy rows of blocks at random places of each."""
    rng = random.Random(seed)
    columns = []
    number = 0
    for document, length in enumerate(lengths):
        for _ in range(num_blocks):
            context = rng.randrange(length)
            for slot in range(rng.randint(1, 7)):
                opens = rng.randint(0, 1)
                columns.append((5, context + slot, document, number, context, opens))
            number += 1
    return clean_rows([[5] * length for length in lengths], CPU), rows_of(*columns)


def random_heads(num: int, heads: int, generator: torch.Generator) -> torch.Tensor:
    return torch.randn(num, heads, _HEAD_DIM, generator=generator)


def inputs_of(rows: Rows, memory: Rows | None, device: torch.device) -> list[torch.Tensor]:
    """q, k, v, and the memory's keys and values."""
    generator = torch.Generator().manual_seed(1)
    num_old = 0 if memory is None else memory.num_rows
    tensors = [
        random_heads(rows.num_rows, _HEADS, generator),
        random_heads(rows.num_rows, _KV_HEADS, generator),
        random_heads(rows.num_rows, _KV_HEADS, generator),
        random_heads(num_old, _KV_HEADS, generator),
        random_heads(num_old, _KV_HEADS, generator),
    ]
    return [tensor.to(device) for tensor in tensors]


def attended(plan: Any, tensors: list[torch.Tensor], memory: Rows | None) -> torch.Tensor:
    q, k, v, old_k, old_v = tensors
    out = plan.attend(q, k, v, None if memory is None else (old_k, old_v))
    assert out.shape == (q.shape[0], _HEADS * _HEAD_DIM)
    return out


def gradients(plan: Any, tensors: list[torch.Tensor], memory: Rows | None) -> list[torch.Tensor]:
    leaves = [tensor.clone().requires_grad_() for tensor in tensors]
    out = attended(plan, leaves, memory)
    weights = torch.linspace(-1, 1, out.numel(), device=out.device).view_as(out)
    (out * weights).sum().backward()
    return [leaf.grad for leaf in leaves if leaf.grad is not None]


# Below two tiles, exactly two, several with a rest.
_LENGTHS = [[30, 1, 12], [200, 56], [150, 90, 61]]


@pytest.mark.parametrize("lengths", _LENGTHS)
@pytest.mark.parametrize("with_memory", [False, True])
def test_flex_equals_dense(lengths: list[int], with_memory: bool) -> None:
    clean, noisy = batch_of(3, lengths, num_blocks=9)
    rows, memory = (noisy, clean) if with_memory else (clean, None)
    tensors = inputs_of(rows, memory, CPU)
    with torch.no_grad():
        expected = attended(DensePlan(rows, memory), tensors, memory)
        found = attended(FlexPlan(rows, memory), tensors, memory)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_gradients_of_flex_equal_dense(monkeypatch: pytest.MonkeyPatch) -> None:
    """torch refuses the backward pass on a CPU for want of a fast kernel; its slow reference is
    there all the same."""
    if not hasattr(torch_flex, "_validate_device"):
        pytest.skip("this torch has no such check to lift")
    monkeypatch.setattr(torch_flex, "_validate_device", lambda *_: None)
    clean, noisy = batch_of(4, [40, 25], num_blocks=5)
    tensors = inputs_of(noisy, clean, CPU)
    expected = gradients(DensePlan(noisy, clean), tensors, clean)
    found = gradients(FlexPlan(noisy, clean), tensors, clean)
    assert len(found) == len(expected) == 5
    for mine, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-5, rtol=1e-4)


@settings(max_examples=30)
@given(
    st.integers(0, 2**32),
    st.lists(st.integers(1, 200), min_size=1, max_size=5),
    st.integers(1, 30),
    st.booleans(),
)
def test_tiles_hold_all_that_is_visible(
    seed: int, lengths: list[int], num_blocks: int, with_memory: bool
) -> None:
    """The eager reference does not read them, so a tile left out would show on a GPU only."""
    clean, noisy = batch_of(seed, lengths, num_blocks)
    rows, memory = (noisy, clean) if with_memory else (clean, None)
    keys = rows if memory is None else Rows.concatenate([memory, rows])
    tiles = FlexPlan(rows, memory).block_mask.to_dense()[0, 0].bool()
    seen = visible(rows, keys)
    # Memory and rows are padded apart, to two tiles at least.
    start = max(2, -(-clean.num_rows // TILE)) * TILE if with_memory else 0
    places = torch.arange(keys.num_rows)
    if with_memory:
        places = torch.cat((places[: clean.num_rows], start + torch.arange(rows.num_rows)))
    row_tiles, key_tiles = torch.arange(rows.num_rows) // TILE, places // TILE
    assert bool((tiles[row_tiles][:, key_tiles] | ~seen).all())


def test_tiles_of_other_documents_are_left_out() -> None:
    """Four documents of two tiles each: causal inside, nothing across."""
    clean, _ = batch_of(0, [2 * TILE] * 4, num_blocks=1)
    tiles = FlexPlan(clean, None).block_mask.to_dense()[0, 0].bool()
    expected = torch.block_diag(*[torch.ones(2, 2).tril()] * 4).bool()
    assert torch.equal(tiles, expected)


def test_a_cpu_takes_the_dense_plan() -> None:
    assert isinstance(plan_attention(clean_rows([[5, 6]], CPU), None), DensePlan)


@pytest.mark.gpu
@pytest.mark.parametrize("with_memory", [False, True])
def test_compiled_flex_equals_dense(with_memory: bool) -> None:
    """Forward and backward on the device, over several shapes."""
    device = torch.device("cuda")
    for seed, lengths in enumerate(_LENGTHS):
        clean, noisy = (rows.to(device) for rows in batch_of(seed, lengths, num_blocks=9))
        rows, memory = (noisy, clean) if with_memory else (clean, None)
        plan = plan_attention(rows, memory)
        assert isinstance(plan, FlexPlan)
        tensors = inputs_of(rows, memory, device)
        expected, found = DensePlan(rows, memory), plan
        torch.testing.assert_close(
            attended(found, tensors, memory),
            attended(expected, tensors, memory),
            atol=2e-3,
            rtol=2e-3,
        )
        for mine, theirs in zip(
            gradients(found, tensors, memory), gradients(expected, tensors, memory), strict=True
        ):
            torch.testing.assert_close(mine, theirs, atol=1e-2, rtol=1e-2)


def test_the_network_computes_the_same_with_it(
    qwen_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = load_network(qwen_folder)
    clean, noisy = batch_of(6, [40, 25], num_blocks=4)

    def both() -> torch.Tensor:
        with torch.no_grad():
            _, memory = network.forward(clean)
            return network.forward(noisy, memory=memory)[0]

    expected = both()
    monkeypatch.setattr("engine.training.network.plan_attention", FlexPlan)
    torch.testing.assert_close(both(), expected, atol=1e-4, rtol=1e-4)
