"""Noisy blocks: targets, positions and weights, by hand and by property."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from engine.models.config import AdapterScope, Alignment, ModelConfig, read_model_config
from engine.training.noise import IGNORED, Block, BlockMaker, noisy_rows
from tests.tiny_model import CHECKPOINT
from tests.training.networks import CPU, MASK

END, PAD = 11, 2
TOKENS = list(range(200, 240))

_ALIGNMENTS: tuple[Alignment, ...] = ("same_position", "next_position")
_SCOPES: tuple[AdapterScope, ...] = ("block", "masks")
_forms = st.tuples(st.sampled_from(_ALIGNMENTS), st.sampled_from(_SCOPES))


def config_of(alignment: Alignment, scope: AdapterScope) -> ModelConfig:
    config = read_model_config(CHECKPOINT / "config.json")
    return replace(config, alignment=alignment, adapter_scope=scope)


def maker(alignment: Alignment, scope: AdapterScope) -> BlockMaker:
    return BlockMaker(config_of(alignment, scope), END, PAD)


def made(block: Block | None) -> Block:
    assert block is not None
    return block


def test_draft_of_a_mask_gated_next_position_adapter() -> None:
    """The seed 205 is a clean token; the mask in place 6 stands behind it and predicts place 7."""
    block = made(maker("next_position", "masks").draft(TOKENS, 5, 3))
    assert block.context == 6
    assert block.ids == [MASK] * 3
    assert block.positions == [6, 7, 8]
    assert block.targets == [207, 208, 209]
    assert block.sources == [6, 7, 8]
    assert block.weights == [1.0] * 3


def test_draft_of_a_same_position_block_repeats_the_seed() -> None:
    block = made(maker("same_position", "block").draft(TOKENS, 5, 3))
    assert block.context == 5
    assert block.ids == [205, MASK, MASK, MASK]
    assert block.positions == [5, 6, 7, 8]
    assert block.targets == [IGNORED, 206, 207, 208]
    assert block.sources == [IGNORED, 5, 6, 7]


def test_draft_of_the_mixed_forms() -> None:
    gated = made(maker("same_position", "masks").draft(TOKENS, 5, 2))
    assert (gated.context, gated.ids, gated.targets) == (6, [MASK] * 2, [206, 207])
    whole = made(maker("next_position", "block").draft(TOKENS, 5, 2))
    assert (whole.context, whole.ids) == (5, [205, MASK, MASK])
    assert whole.targets == [IGNORED, 207, 208]


def test_draft_ends_with_the_text() -> None:
    last = len(TOKENS) - 1
    same, next_one = maker("same_position", "masks"), maker("next_position", "masks")
    assert made(same.draft(TOKENS, last - 3, 3)).targets[-1] == TOKENS[-1]
    assert same.draft(TOKENS, last - 2, 3) is None
    assert made(next_one.draft(TOKENS, last - 4, 3)).targets[-1] == TOKENS[-1]
    assert next_one.draft(TOKENS, last - 3, 3) is None


@given(_forms, st.integers(0, 39), st.integers(2, 12), st.integers(0, 2**32), st.floats(0, 4))
def test_random_block_asks_only_for_what_it_does_not_show(
    form: tuple[Alignment, AdapterScope], start: int, size: int, seed: int, late: float
) -> None:
    block = maker(*form).random(TOKENS, start, size, random.Random(seed), late=late)
    if block is None:
        return
    shift = 0 if form[0] == "same_position" else 1
    assert block.context == start
    assert block.positions == list(range(start, start + len(block.ids)))
    assert block.ids[0] == TOKENS[start], "the first slot is the seed"
    shown = {at for at, token in zip(block.positions, block.ids, strict=True) if token != MASK}
    assert all(block.ids[at - start] == TOKENS[at] for at in shown)
    for at, token, target, source in zip(
        block.positions, block.ids, block.targets, block.sources, strict=True
    ):
        wanted = at + shift
        if token == MASK and wanted not in shown:
            assert (target, source) == (TOKENS[wanted], wanted - 1)
        else:
            assert target == source == IGNORED
    assert all(1.0 <= weight <= 20.0 for weight in block.weights)


def masked_slots(late: float, num: int, size: int = 16) -> tuple[Counter[int], float, float]:
    """How often each slot is masked, and the means of the ratio meant and found."""
    make, rng = maker("same_position", "block"), random.Random(3)
    tokens = list(range(200, 200 + size))
    counts: Counter[int] = Counter()
    meant = found = 0.0
    for _ in range(num):
        block = make.random(tokens, 0, size, rng, late=late)
        if block is None:
            continue
        slots = [slot for slot, token in enumerate(block.ids) if token == MASK]
        counts.update(slots)
        meant += 1.0 / block.weights[0] if block.weights[0] < 20.0 else 0.025
        found += len(slots) / (size - 1)
    return counts, meant / num, found / num


def test_later_slots_are_masked_more_when_asked() -> None:
    num = 4000
    even, meant, found = masked_slots(0.0, num)
    assert even[0] == 0
    # Ratios are uniform in (0, 1]; a hundredth is three standard errors.
    assert all(abs(even[slot] / num - 0.5) < 0.03 for slot in range(1, 16))
    assert abs(meant - found) < 0.03
    tilted, meant, found = masked_slots(3.0, num)
    thirds = [sum(tilted[slot] for slot in range(at, at + 5)) / (5 * num) for at in (1, 6, 11)]
    assert thirds[0] + 0.05 < thirds[1] < thirds[2] - 0.05
    # The seed's share of the tilt is the smallest, so the other slots get a little more.
    assert abs(meant - found) < 0.06


def test_hole_of_a_same_position_block() -> None:
    """Seed 203, a hole over 204 and 205, a canvas of 5, two tokens of suffix behind it."""
    block = made(maker("same_position", "block").hole(TOKENS, 3, 2, canvas=5, num_suffix=2))
    assert block.context == 3
    assert block.ids == [203, *[MASK] * 5, 206, 207]
    assert block.positions == list(range(3, 11))
    assert block.targets == [IGNORED, 204, 205, END, PAD, PAD, IGNORED, IGNORED]
    assert block.weights == [0.0, 1.0, 1.0, 1.0, 0.5, 0.5, 0.0, 0.0]
    assert block.sources == [IGNORED] * 8


def test_hole_of_a_mask_gated_next_position_adapter() -> None:
    """The first token of the hole is the seed's own prediction, so no mask is asked for it."""
    block = made(maker("next_position", "masks").hole(TOKENS, 3, 2, canvas=5, num_suffix=2))
    assert block.context == 4
    assert block.ids == [*[MASK] * 5, 206, 207]
    assert block.positions == list(range(4, 11))
    assert block.targets == [205, END, PAD, PAD, IGNORED, IGNORED, IGNORED]
    assert block.weights == [1.0, 1.0, 0.5, 0.5, 0.0, 0.0, 0.0]


@given(_forms, st.integers(0, 25), st.integers(1, 9), st.integers(2, 12), st.integers(1, 6))
def test_all_padding_of_a_hole_counts_as_one_token(
    form: tuple[Alignment, AdapterScope], start: int, length: int, canvas: int, num_suffix: int
) -> None:
    block = maker(*form).hole(TOKENS, start, length, canvas=canvas, num_suffix=num_suffix)
    if length + 1 > canvas:
        assert block is None
        return
    rows = list(zip(made(block).targets, made(block).weights, strict=True))
    assert sum(weight for target, weight in rows if target == IGNORED) == 0.0
    padding = [weight for target, weight in rows if target == PAD]
    assert len(padding) == canvas - length - 1
    assert sum(padding) == (pytest.approx(1.0) if padding else 0.0)
    assert [weight for target, weight in rows if target == END] == [1.0]
    end = start + 1 + length
    assert made(block).ids[-num_suffix:] == TOKENS[end : end + num_suffix]


def test_hole_ends_with_the_text() -> None:
    make = maker("same_position", "block")
    start = len(TOKENS) - 1 - 2 - 3
    assert make.hole(TOKENS, start, 2, canvas=4, num_suffix=3) is not None
    assert make.hole(TOKENS, start + 1, 2, canvas=4, num_suffix=3) is None


@pytest.mark.parametrize("scope", _SCOPES)
def test_rows_of_blocks(scope: AdapterScope) -> None:
    config = config_of("same_position", scope)
    first = Block(4, [200, MASK], [4, 5], [], [], [])
    second = Block(0, [MASK], [0], [], [], [])
    rows = noisy_rows([(0, first), (0, second), (2, first)], config, CPU)
    assert rows.ids.tolist() == [200, MASK, MASK, 200, MASK]
    assert rows.positions.tolist() == [4, 5, 0, 4, 5]
    assert rows.documents.tolist() == [0, 0, 0, 2, 2]
    assert rows.blocks.tolist() == [0, 0, 1, 2, 2], "a number of its own for each block"
    assert rows.contexts.tolist() == [4, 4, 0, 4, 4]
    opens = [1, 1, 1, 1, 1] if scope == "block" else [0, 1, 1, 0, 1]
    assert rows.opens.tolist() == opens
    assert rows.ids.dtype == torch.int64
