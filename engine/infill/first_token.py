"""The first token of a candidate: it must begin with the characters to heal; alternatives branch
here. Called by `engine.infill.answer`.
"""

from __future__ import annotations

import math
from itertools import takewhile

import torch

from engine.decoding.sampling import Pick
from engine.decoding.scores import Scores
from engine.decoding.state import Decoding
from engine.tokenizer import CodeTokenizer


def first_pick(
    state: Decoding, scores: Scores, need: bytes, tokenizer: CodeTokenizer, branch: int
) -> Pick | None:
    """The choice from the one row of `scores`; None when there is none.

    branch: rank of the token when greedy (0 = best). Notes in `state` how likely it is that
    nothing is to be written.
    """
    if not need:
        sampler = state.sampler
        is_nth = branch > 0 and sampler.is_greedy
        if is_nth:
            return sampler.pick_nth(scores, branch, may_end=state.may_end)
        return state.pick(scores)
    allowed = tokenizer.allowed_first_tokens(need)
    # In order of their bytes: what spells `need` and no more comes first.
    exact = list(takewhile(lambda token: tokenizer.token_bytes(token) == need, allowed))
    state.first_end_logprob = -math.inf
    if exact:
        logits = scores.logits
        # An upper bound: behind these the text may still go on, which `emit_pick` judges.
        log_mass = torch.logsumexp(logits[:, allowed], dim=-1)
        state.first_end_logprob = float(torch.logsumexp(logits[:, exact], dim=-1) - log_mass)
    if branch and state.sampler.is_greedy:
        # Shorter tokens would only spell the typed characters in another way.
        return state.sampler.pick_nth(scores, branch, whole_need_tokens(need, tokenizer))
    return state.sampler.pick(scores, allowed)


def whole_need_tokens(need: bytes, tokenizer: CodeTokenizer) -> list[int] | None:
    """Ids that spell all of `need`, for a slot that can hold one token only; None = any will do."""
    if not need:
        return None
    allowed = tokenizer.allowed_first_tokens(need)
    return [token for token in allowed if tokenizer.token_bytes(token).startswith(need)]
