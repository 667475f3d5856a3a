"""Filling the masks of one block by bidirectional passes; used by diffusion and by every draft.

After FastDiffuser of Nemotron-Labs-Diffusion: commit what is confident, never revise, write no KV.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from engine.decoding.blocks import (
    Candidates,
    best_candidates,
    block_view,
    candidates,
    is_settled,
    min_commits_per_step,
    num_draft_rows,
    predicting_row,
    select_commits,
)
from engine.decoding.forward import Forward, Kind, Steps
from engine.decoding.scores import Scores
from engine.decoding.state import Decoding


def denoise(
    state: Decoding,
    block: list[int],
    *,
    kind: Kind,
    threshold: float | None,
    max_steps: int,
    suffix_head: Sequence[int] = (),
    draft_adapter: bool = False,
    sample: bool = False,
) -> Steps[list[float]]:
    """Replace the masks of `block` in place; returns the confidence of every slot (1.0 = given).

    block[0] is the seed. suffix_head: tokens known to come right after the block, visible to its
    masks and never changed. At most `max_steps` forwards; stops early at an end token with no mask
    before it. ``state.draft`` always holds the best guess for the slots behind the seed.
    """
    mask_id = state.config.mask_token_id
    confidences = [1.0] * len(block)
    for step in range(max_steps):
        slots = [slot for slot, token in enumerate(block) if token == mask_id]
        if not slots or is_settled(block[1:], state.config):
            break
        output = yield _block_forward(state, block, kind, suffix_head, draft_adapter)
        scores = output.scores([predicting_row(slot, state.config) for slot in slots])
        owes_text = slots[0] == 1 and not state.may_end
        found = _candidates(state, scores, owes_text=owes_text, sample=sample)
        chosen = select_commits(
            found.confidence, threshold, min_commits_per_step(len(slots), max_steps - step)
        )
        guess = list(block)
        for at, slot in enumerate(slots):
            guess[slot] = int(found.tokens[at])
            if chosen[at]:
                block[slot] = guess[slot]
                confidences[slot] = float(found.confidence[at])
        state.draft = guess[1:]
    return confidences


def _candidates(state: Decoding, scores: Scores, *, owes_text: bool, sample: bool) -> Candidates:
    """owes_text: the first row may not end the text."""
    sampler = state.sampler
    if not owes_text and (sampler.is_greedy or not sample):
        return best_candidates(scores.survey(sampler.choosable))
    logits = scores.logits
    if owes_text:
        logits[0, list(state.config.eos_token_ids)] = float("-inf")
    choosable = sampler.perturbed(logits) if sample else sampler.without_forbidden(logits)
    return candidates(logits, choosable)


def _block_forward(
    state: Decoding,
    block: list[int],
    kind: Kind,
    suffix_head: Sequence[int],
    draft_adapter: bool,
) -> Forward:
    num_rows = num_draft_rows(len(block), state.config)
    shown = [*block[:num_rows], *suffix_head]
    ids = torch.tensor(shown, dtype=torch.int64)
    # The suffix head keeps its place behind the whole block, also where the last slot needs no row.
    offsets = [*range(num_rows), *range(len(block), len(block) + len(suffix_head))]
    return Forward(
        kind,
        ids.unsqueeze(0),
        block_view(ids, state.config),
        offsets=torch.tensor(offsets),
        draft_adapter=draft_adapter,
    )
