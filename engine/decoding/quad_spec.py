"""quad_spec: one forward verifies the draft and prepares the next one for every outcome.

Quadratic self-speculation of Nemotron-Labs-Diffusion (arXiv 2607.05722, appendix C). Group i
stands for "drafts 0..i were right": its first token is draft i, the rest are masks that already
draft what comes after. Only the first tokens' KV, which saw a causal view, is ever kept.
"""

from __future__ import annotations

import torch

from engine.decoding.blocks import accepted_length, candidates
from engine.decoding.forward import Forward, Output, Steps
from engine.decoding.state import Decoding
from engine.models.config import ModelConfig


def group_length(num_drafts: int, config: ModelConfig) -> int:
    """Tokens per group for drafts of `num_drafts`: k + 1, one less with next-position logits.

    Slot 0 is the draft token. With same-position logits slot 1's token is known from slot 0's
    causal logits, so masks up to slot k give k - 1 more; with next-position logits the row of
    slot k - 1 already predicts that far.
    """
    return num_drafts + 1 if config.alignment == "same_position" else num_drafts


def quad_view(num_groups: int, length: int, device: torch.device) -> torch.Tensor:
    """bool (num_groups * length, same): everybody sees the first tokens of groups 0..own; tokens
    that are not first see their own group too."""
    group = torch.arange(num_groups, device=device).repeat_interleave(length)
    is_first = torch.arange(num_groups * length, device=device) % length == 0
    chain = is_first.unsqueeze(0) & (group.unsqueeze(0) <= group.unsqueeze(1))
    own = (group.unsqueeze(0) == group.unsqueeze(1)) & ~is_first.unsqueeze(1)
    return chain | own


def quad_offsets(num_groups: int, length: int, device: torch.device) -> torch.Tensor:
    """int64 (num_groups * length,): slot j of group i stands at position i + j."""
    groups = torch.arange(num_groups, device=device).unsqueeze(1)
    return (groups + torch.arange(length, device=device)).reshape(-1)


def quad_spec(state: Decoding, seed: int) -> Steps[None]:
    """Continue behind `seed`, which is emitted but not yet cached. Lossless like linear_spec."""
    num_drafts = state.params.block_size
    length = group_length(num_drafts, state.config)
    draft = [seed]
    while not state.is_finished:
        draft = draft[: state.num_remaining_tokens]
        output = yield _forward(state, draft, length)
        firsts = list(range(0, len(draft) * length, length))
        pick = state.sampler.pick(output.logits(firsts))
        num_accepted = accepted_length(draft[1:], pick.tokens)
        kept = slice(num_accepted + 1)
        state.cache.keep(draft[kept], firsts[kept])
        if state.emit_pick(pick, num_accepted + 1):
            return
        start = firsts[num_accepted]
        draft = [pick.tokens[num_accepted], *_next_draft(state, output, start, num_drafts)]


def _forward(state: Decoding, draft: list[int], length: int) -> Forward:
    masks = [state.config.mask_token_id] * (length - 1)
    ids = [token for first in draft for token in (first, *masks)]
    return Forward(
        "verify",
        torch.tensor([ids], dtype=torch.int64, device=state.device),
        quad_view(len(draft), length, state.device),
        offsets=quad_offsets(len(draft), length, state.device),
        # Drafting and verifying share this pass: only an adapter that leaves the visible tokens
        # alone may be on.
        draft_adapter=state.config.adapter_scope == "masks",
    )


def _next_draft(state: Decoding, output: Output, start: int, num_drafts: int) -> list[int]:
    """The tokens after the bonus token, from the masks of the group that starts at row `start`."""
    shift = 0 if state.config.alignment == "same_position" else 1
    rows = [start + slot - shift for slot in range(2, num_drafts + 1)]
    if not rows:
        return []
    logits = output.logits(rows)
    found = candidates(logits, state.sampler.without_forbidden(logits))
    return [int(token) for token in found.tokens]
