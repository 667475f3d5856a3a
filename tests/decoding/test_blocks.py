"""The pure step functions, over random inputs."""

from __future__ import annotations

import dataclasses

import torch
from hypothesis import given
from hypothesis import strategies as st

from engine.decoding import blocks
from engine.models.config import ModelConfig

CONFIG = ModelConfig(
    family="nemotron_labs_diffusion",
    vocab_size=120,
    hidden_size=8,
    num_layers=1,
    num_heads=2,
    num_kv_heads=1,
    head_dim=4,
    intermediate_size=8,
    norm_eps=1e-5,
    rope_theta=1e4,
    max_positions=128,
    yarn=None,
    query_scale_beta=0.0,
    qkv_bias=False,
    tied_head=False,
    mask_token_id=100,
    eos_token_ids=(11, 2),
    block_size=8,
    alignment="same_position",
    adapter_scope="block",
)
NEXT = dataclasses.replace(CONFIG, alignment="next_position", adapter_scope="masks")

confidences = st.lists(st.floats(0.0, 1.0, width=32), min_size=1, max_size=32)


@given(confidences, st.none() | st.floats(0.0, 1.0), st.integers(0, 40))
def test_select_commits(values: list[float], threshold: float | None, minimum: int) -> None:
    confidence = torch.tensor(values)
    chosen = blocks.select_commits(confidence, threshold, minimum)
    # Always progress, never less than asked for.
    assert int(chosen.sum()) >= min(max(minimum, 1), len(values))
    # Everything confident enough, and what else is chosen is at least as confident as the rest.
    if threshold is not None:
        assert bool(chosen[confidence >= threshold].all())
    if not bool(chosen.all()):
        below = confidence[chosen].min() >= confidence[~chosen].max()
        assert bool(below)
        over = 0 if threshold is None else int((confidence >= threshold).sum())
        assert int(chosen.sum()) == max(over, min(max(minimum, 1), len(values)))


@given(st.integers(1, 32), st.integers(1, 32))
def test_step_budget_suffices(num_masks: int, num_steps: int) -> None:
    left = num_masks
    for step in range(num_steps):
        left -= min(left, blocks.min_commits_per_step(left, num_steps - step)) if left else 0
    assert left == 0


@given(st.lists(st.integers(0, 3), max_size=12), st.lists(st.integers(0, 3), max_size=12))
def test_accepted_length(draft: list[int], verified: list[int]) -> None:
    length = blocks.accepted_length(draft, verified)
    assert draft[:length] == verified[:length]
    if length < min(len(draft), len(verified)):
        assert draft[length] != verified[length]


@given(st.lists(st.sampled_from([100, 11, 2, 50, 51]), min_size=1, max_size=12))
def test_is_settled(block: list[int]) -> None:
    masks = [i for i, token in enumerate(block) if token == 100]
    ends = [i for i, token in enumerate(block) if token in (11, 2)]
    expected = not masks or (bool(ends) and ends[0] < masks[0])
    assert blocks.is_settled(block, CONFIG) == expected


@given(st.integers(0, 2**31), st.integers(1, 6))
def test_candidates_never_forbidden_and_calibrated(seed: int, rows: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(rows, 120, generator=generator) * 3
    forbidden = torch.zeros(120, dtype=torch.bool)
    forbidden[100] = True
    # Even where the mask id would win, it is never the candidate, but keeps its share.
    logits[:, 100] = logits.max() + 1
    found = blocks.candidates(logits, logits.masked_fill(forbidden, float("-inf")))
    assert 100 not in found.tokens.tolist()
    whole = torch.softmax(logits, dim=-1).gather(1, found.tokens.unsqueeze(1)).squeeze(1)
    torch.testing.assert_close(found.confidence, whole)


@given(st.lists(st.booleans(), min_size=1, max_size=16))
def test_masks_scope_leaves_visible_tokens_causal(is_mask: list[bool]) -> None:
    ids = torch.tensor([100 if masked else 50 for masked in is_mask])
    view = blocks.block_view(ids, NEXT)
    assert isinstance(view, torch.Tensor)
    for i, masked in enumerate(is_mask):
        for j, other in enumerate(is_mask):
            assert bool(view[i, j]) == (masked or (not other and j <= i))
    assert blocks.block_view(ids, CONFIG) == "full"


@given(st.lists(st.floats(0.0, 1.0), max_size=6), st.floats(0.0, 1.0))
def test_num_sure(confidences: list[float], threshold: float) -> None:
    num = blocks.num_sure(confidences, threshold)
    assert all(value >= threshold for value in confidences[:num])
    assert num == len(confidences) or confidences[num] < threshold


def test_draft_rows() -> None:
    assert [blocks.predicting_row(slot, CONFIG) for slot in (1, 2, 3)] == [1, 2, 3]
    assert [blocks.predicting_row(slot, NEXT) for slot in (1, 2, 3)] == [0, 1, 2]
    assert blocks.num_draft_rows(8, CONFIG) == 8
    assert blocks.num_draft_rows(8, NEXT) == 7
    assert blocks.num_draft_rows(1, NEXT) == 1
