"""Who sees whom: the tensor rule against a double loop, and against the published table."""

from __future__ import annotations

import random

import torch
from hypothesis import given
from hypothesis import strategies as st

from engine.training.noise import Block, noisy_rows
from engine.training.objective import clean_rows
from engine.training.rows import CLEAN, Rows, visible
from tests.tiny_model import CHECKPOINT
from tests.training.networks import CPU, MASK, load_network, rows_of

Row = tuple[int, int, int, int, int, int]

# (id, position, document, block, context, opens) with few values, so that rows meet often.
_ROW = st.tuples(
    st.just(7),
    st.integers(0, 4),
    st.integers(0, 1),
    st.integers(CLEAN, 2),
    st.integers(0, 5),
    st.integers(0, 1),
)


def sees(query: Row, key: Row) -> bool:
    """The rule in words, one pair at a time."""
    _, position, document, block, context, opens = query
    _, key_position, key_document, key_block, _, key_opens = key
    if document != key_document:
        return False
    if key_block == CLEAN:
        return key_position < context
    if block != key_block:
        return False
    if opens:
        return True
    return not key_opens and key_position <= position


@given(st.lists(_ROW, min_size=1, max_size=12), st.lists(_ROW, min_size=1, max_size=12))
def test_visible_equals_a_double_loop(queries: list[Row], keys: list[Row]) -> None:
    expected = torch.tensor([[sees(query, key) for key in keys] for query in queries])
    assert torch.equal(visible(rows_of(*queries), rows_of(*keys)), expected)


def test_dual_stream_is_the_table_of_the_paper() -> None:
    """Noisy i sees noisy j iff the block is the same, and clean j iff its block is earlier; clean
    i sees clean j iff j <= i, and nothing noisy. Blocks of 3 over 8 tokens."""
    network = load_network(CHECKPOINT)
    num_tokens, size = 8, 3
    blocks = [
        Block(start, [MASK] * len(at), list(at), [], [], [])
        for start in range(0, num_tokens, size)
        if (at := range(start, min(start + size, num_tokens)))
    ]
    noisy = noisy_rows([(0, block) for block in blocks], network.config, CPU)
    rows = Rows.concatenate([noisy, clean_rows([[5] * num_tokens], CPU)])
    expected = torch.zeros(2 * num_tokens, 2 * num_tokens, dtype=torch.bool)
    for i in range(num_tokens):
        for j in range(num_tokens):
            expected[i, j] = i // size == j // size
            expected[i, num_tokens + j] = j // size < i // size
            expected[num_tokens + i, num_tokens + j] = j <= i
    assert torch.equal(visible(rows, rows), expected)


def test_masks_scope_hides_masks_from_visible_tokens() -> None:
    """A visible token of a block sees what stands before it and no mask, wherever masks are."""
    network = load_network(CHECKPOINT, adapter_scope="masks")
    rng = random.Random(0)
    ids = [rng.choice((MASK, 200)) for _ in range(12)]
    block = Block(0, ids, list(range(12)), [], [], [])
    rows = noisy_rows([(0, block)], network.config, CPU)
    seen = visible(rows, rows)
    for i, query in enumerate(ids):
        for j, key in enumerate(ids):
            expected = True if query == MASK else key != MASK and j <= i
            assert bool(seen[i, j]) == expected


def test_parts_put_together_are_the_rows() -> None:
    rows = clean_rows([[3, 4, 5], [6, 7]], CPU, starts=[2, 0])
    assert rows.positions.tolist() == [2, 3, 4, 0, 1]
    assert rows.contexts.tolist() == [3, 4, 5, 1, 2]
    assert rows.documents.tolist() == [0, 0, 0, 1, 1]
    again = Rows.concatenate([rows.part(0, 2), rows.part(2, 5)])
    assert torch.equal(again.ids, rows.ids)
    assert torch.equal(again.contexts, rows.contexts)
