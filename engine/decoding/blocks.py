"""Blocks with masks: layout, who sees whom, and which slots a denoising step commits.

Pure functions over tensors and lists, shared by diffusion, linear_spec, quad_spec and the length
search. A *slot* is a position of the block; slot 0 holds the seed, a token already known.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch

from engine.models.config import ModelConfig
from engine.models.survey import Survey


class Candidates(NamedTuple):
    """Per masked slot: the best token and its probability under the raw logits."""

    tokens: torch.Tensor
    confidence: torch.Tensor


def block_view(ids: torch.Tensor, config: ModelConfig) -> torch.Tensor | Literal["full"]:
    """Who sees whom inside one draft or denoise block `ids` (T,).

    adapter_scope ``block``: everybody sees everybody. ``masks``: masks see the whole block,
    visible tokens only visible tokens at or before them, so they stay exactly the base model's.
    """
    if config.adapter_scope == "block":
        return "full"
    is_mask = ids == config.mask_token_id
    T = ids.shape[0]
    before = torch.ones(T, T, dtype=torch.bool, device=ids.device).tril_()
    return is_mask.unsqueeze(1) | (before & ~is_mask.unsqueeze(0))


def predicting_row(slot: int, config: ModelConfig) -> int:
    """The row of a mask pass whose logits are for the token at `slot`."""
    return slot if config.alignment == "same_position" else slot - 1


def num_draft_rows(block_size: int, config: ModelConfig) -> int:
    """Rows that a draft of ``block_size - 1`` tokens behind the seed needs (seed included).

    With next-position logits the row of the last slot predicts beyond the block and is left out.
    """
    return block_size if config.alignment == "same_position" else max(block_size - 1, 1)


def candidates(logits: torch.Tensor, choosable: torch.Tensor) -> Candidates:
    """One token per row of fp32 logits (N, V): the argmax of `choosable` (N, V), and its softmax
    probability under `logits`.

    choosable: the logits with forbidden ids (the mask among them) at -inf, or a perturbed copy
    that makes the argmax a sample (Sampler.perturbed). Forbidden ids can never be the candidate
    but stay in the denominator, so thresholds mean the same as in the published samplers.
    """
    normaliser = torch.logsumexp(logits, dim=-1)
    tokens = choosable.argmax(dim=-1)
    chosen = logits.gather(1, tokens.unsqueeze(1)).squeeze(1)
    return Candidates(tokens, (chosen - normaliser).exp())


def best_candidates(found: Survey) -> Candidates:
    """`candidates` where the best choosable token is taken, of one look at the logits."""
    return Candidates(found.tokens, (found.best - found.normaliser).exp())


def select_commits(
    confidence: torch.Tensor, threshold: float | None, min_commits: int
) -> torch.Tensor:
    """bool (N,): which of N masked slots become final in this step.

    All at or above `threshold` (none when it is None), and always the `min_commits` most confident
    (FastDiffuser: at least one; more where a step budget forces it).
    """
    num_masks = confidence.shape[0]
    chosen = torch.zeros(num_masks, dtype=torch.bool, device=confidence.device)
    if threshold is not None:
        chosen |= confidence >= threshold
    best = confidence.topk(min(max(min_commits, 1), num_masks)).indices
    chosen[best] = True
    return chosen


def min_commits_per_step(num_masks: int, num_steps_left: int) -> int:
    """Slots that must be committed now so that the step budget suffices."""
    return math.ceil(num_masks / max(num_steps_left, 1))


def is_settled(block: list[int], config: ModelConfig) -> bool:
    """No mask is left, or an end token stands in the block with no mask before it."""
    for token in block:
        if token == config.mask_token_id:
            return False
        if token in config.eos_token_ids:
            return True
    return True


def accepted_length(draft: list[int], verified: list[int]) -> int:
    """Leading drafts that the causal model agrees with: verified[i] is its choice after row i."""
    length = 0
    for guess, truth in zip(draft, verified, strict=False):
        if guess != truth:
            break
        length += 1
    return length


def num_sure(confidences: Sequence[float], threshold: float) -> int:
    """Leading drafts of which each is at least `threshold` likely to be right."""
    return next((at for at, value in enumerate(confidences) if value < threshold), len(confidences))
