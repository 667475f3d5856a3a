"""The shared pass: one forward verifies visible tokens and drafts behind chosen ones of them.

Its rows are the visible tokens, which see only each other and causally, then one group of masks
for each visible token that has one. A mask sees the visible tokens up to its own and the masks of
its own group, so a group drafts as if the text ended with its token. After quadratic
self-speculation of Nemotron-Labs-Diffusion (arXiv 2607.05722, appendix C); with the visible rows in
front, the KV of those that prove right is contiguous, and `KVCache.commit` takes it as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from engine.decoding.blocks import best_candidates
from engine.decoding.forward import HOST, Forward, Kind, row
from engine.decoding.scores import Scores
from engine.decoding.state import Decoding
from engine.models.config import ModelConfig


@dataclass(frozen=True, slots=True)
class Draft:
    """Tokens guessed to follow the token after next, and their probabilities under the guess."""

    tokens: list[int]
    confidences: list[float]

    def behind(self, num_tokens: int) -> Draft:
        """What is left of it when `num_tokens` more tokens were emitted than it expected."""
        return Draft(self.tokens[num_tokens:], self.confidences[num_tokens:])


NO_DRAFT = Draft([], [])


def num_masks(depth: int, config: ModelConfig) -> int:
    """Masks of a group that drafts `depth` tokens behind the one that the causal row chooses.

    With next-position logits the mask at that one's place is the first to draft. With same-position
    logits it drafts nothing, but the others were trained to see it.
    """
    return depth + (config.alignment == "same_position" and depth > 0)


def shared_view(group_lengths: Sequence[int], device: torch.device) -> torch.Tensor:
    """bool (T, T), True = sees; group_lengths: masks behind each of the visible tokens."""
    owner, is_mask, _ = _rows(group_lengths, device)
    chain = ~is_mask.unsqueeze(0) & (owner.unsqueeze(0) <= owner.unsqueeze(1))
    own = is_mask.unsqueeze(0) & is_mask.unsqueeze(1) & (owner.unsqueeze(0) == owner.unsqueeze(1))
    return chain | own


def shared_offsets(group_lengths: Sequence[int], device: torch.device) -> torch.Tensor:
    """int64 (T,): mask j (from 1) behind visible token i stands at position i + j."""
    owner, _, slot = _rows(group_lengths, device)
    return owner + slot


def _rows(
    group_lengths: Sequence[int], device: torch.device
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Per row: the visible token it belongs to, whether it is a mask, and which mask (0 = none)."""
    visible = list(range(len(group_lengths)))
    owner = visible + [i for i in visible for _ in range(group_lengths[i])]
    slot = [0] * len(visible) + [j + 1 for length in group_lengths for j in range(length)]
    slots = torch.tensor(slot, device=device)
    return torch.tensor(owner, device=device), slots > 0, slots


def shared_forward(
    state: Decoding, visible: Sequence[int], depths: Sequence[int], kind: Kind
) -> Forward:
    """The pass over `visible` that drafts ``depths[i]`` tokens behind ``visible[i]``."""
    lengths = [num_masks(depth, state.config) for depth in depths]
    ids = [*visible, *[state.config.mask_token_id] * sum(lengths)]
    return Forward(
        kind,
        row(ids),
        shared_view(lengths, HOST),
        offsets=shared_offsets(lengths, HOST),
        # Only an adapter that leaves the visible tokens alone may be on.
        draft_adapter=state.config.adapter_scope == "masks",
    )


def group_rows(state: Decoding, depths: Sequence[int], outcome: int) -> slice:
    """Of the whole pass, the rows of the masks behind visible token `outcome`."""
    groups = [num_masks(depth, state.config) for depth in depths[: outcome + 1]]
    end = len(depths) + sum(groups)
    return slice(end - groups[outcome], end)


def read_draft(state: Decoding, scores: Scores, depths: Sequence[int], outcome: int) -> Draft:
    """The draft behind visible token `outcome`; scores: of the whole pass."""
    if not depths[outcome]:
        return NO_DRAFT
    rows = scores[group_rows(state, depths, outcome)][-depths[outcome] :]
    found = best_candidates(rows.survey(state.sampler.choosable))
    return Draft(found.tokens.tolist(), found.confidence.tolist())
