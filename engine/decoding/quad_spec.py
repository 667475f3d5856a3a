"""quad_spec: one forward verifies the draft and prepares the next one for every outcome.

Quadratic self-speculation of Nemotron-Labs-Diffusion (arXiv 2607.05722, appendix C), with the depth
of each group left to a plan. Only the KV of visible tokens, which saw a causal view, is ever kept.
"""

from __future__ import annotations

from engine.decoding.blocks import accepted_length, num_sure
from engine.decoding.diffusion import DEFAULT_THRESHOLD
from engine.decoding.draft_plan import Plan, uniform_plan
from engine.decoding.forward import Steps
from engine.decoding.lookup import with_copy
from engine.decoding.shared_pass import NO_DRAFT, Draft, read_draft, shared_forward
from engine.decoding.state import Decoding


def quad_spec(
    state: Decoding,
    seed: int,
    plan: Plan | None = None,
    draft: Draft = NO_DRAFT,
    *,
    max_copied_tokens: int = 0,
) -> Steps[None]:
    """Continue behind `seed`, which is emitted but not yet cached. Lossless like linear_spec.

    plan: None = the published layout for drafts of the request's block size. draft: what is
    guessed to follow the seed already. max_copied_tokens: of a draft that `lookup` may copy from
    the cached text where that promises more than the masks' own; 0 = masks only.
    """
    plan = plan or uniform_plan(state.params.block_size)
    while not state.is_finished:
        # Should the deadline fall before the verify pass, only what the draft is sure of is shown.
        state.draft = draft.tokens[: num_sure(draft.confidences, DEFAULT_THRESHOLD)]
        draft = with_copy(state, seed, draft, max_copied_tokens)
        visible, depths = _laid_out(state, seed, draft, plan)
        output = yield shared_forward(state, visible, depths, "verify")
        scores = output.scores(slice(None))
        pick = state.pick(scores[: len(visible)])
        num_accepted = accepted_length(visible[1:], pick.tokens)
        state.cache.commit(visible[: num_accepted + 1])
        state.speculation.add(len(visible) - 1, num_accepted)
        if state.emit_pick(pick, num_accepted + 1):
            return
        seed = pick.tokens[num_accepted]
        draft = read_draft(state, scores, depths, num_accepted)


def _laid_out(state: Decoding, seed: int, draft: Draft, plan: Plan) -> tuple[list[int], list[int]]:
    """The visible tokens of the next pass and how many tokens to draft behind each of them."""
    ends = [at for at, token in enumerate(draft.tokens) if token in state.config.eos_token_ids]
    useful = draft.confidences[: ends[0] + 1] if ends else draft.confidences
    depths = plan(useful, state.num_remaining_tokens)
    visible = [seed, *draft.tokens[: len(depths) - 1]]
    if ends and len(depths) > ends[0] + 1:
        # Nothing follows an end token.
        depths[-1] = 0
    return visible, depths
