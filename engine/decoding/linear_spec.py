"""linear_spec: draft a block with masks, verify it in one causal pass, accept what agrees.

Linear self-speculation of Nemotron-Labs-Diffusion (arXiv 2607.05722). The draft (adapter on)
writes no KV, the verify pass (adapter off) does. Drafts are greedy and only the verify pass
samples, so the output law is exactly that of `ar`, at any temperature.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from operator import mul

from engine.decoding.blocks import accepted_length, num_sure
from engine.decoding.denoise import denoise
from engine.decoding.diffusion import DEFAULT_THRESHOLD
from engine.decoding.forward import Forward, Steps, row
from engine.decoding.lookup import expected_tokens, with_copy
from engine.decoding.shared_pass import NO_DRAFT
from engine.decoding.state import Decoding, DecodingParams

# A copy that promises so many tokens saves the draft pass, which half of a cycle's time goes into.
_COPY_TOKENS = 2.0
# A row of the verify pass costs about so much of a token's time, where rows are not free.
_MIN_CHANCE = 0.05


def linear_spec(
    state: Decoding, seed: int, suffix_head: Sequence[int] = (), *, max_copied_tokens: int = 0
) -> Steps[None]:
    """Continue behind `seed`, which is emitted but not yet cached.

    suffix_head: what stands right of the hole, shown to the draft only. The verify pass is the
    judge: the agreed part of a draft is kept, the rest is masked and drafted again.
    max_copied_tokens: of a copy (see `lookup`) that may stand instead of a draft; 0 = none.
    """
    size = state.params.block_size
    while not state.is_finished:
        # The seed and its drafts can emit as many tokens as the block is long.
        block_size = min(size, state.num_remaining_tokens)
        most = min(max_copied_tokens, state.num_remaining_tokens - 1)
        copy = with_copy(state, seed, NO_DRAFT, max(most, 0))
        if expected_tokens(copy) >= _COPY_TOKENS:
            block = [seed, *copy.tokens]
        else:
            block = [seed] + [state.config.mask_token_id] * (block_size - 1)
            confidences = yield from _draft(state, block, suffix_head)
            if state.params.max_block_size is not None:
                del block[1 + num_worth_verifying(confidences[1:]) :]
        output = yield Forward("verify", row(block), "causal")
        pick = state.pick(output.scores(slice(None)))
        num_accepted = accepted_length(block[1:], pick.tokens)
        state.cache.commit(block[: num_accepted + 1])
        state.speculation.add(len(block) - 1, num_accepted)
        state.emit_pick(pick, num_accepted + 1)
        seed = pick.tokens[num_accepted]
        size = next_block_size(size, len(block) - 1, num_accepted, state.params)


def next_block_size(size: int, num_drafted: int, num_accepted: int, params: DecodingParams) -> int:
    """Twice the size while whole blocks are accepted, the first one once hardly any of it is."""
    if params.max_block_size is None:
        return size
    if num_accepted == num_drafted:
        # Only what was drafted in full tells that more would be right.
        return min(2 * size, params.max_block_size) if num_drafted == size - 1 else size
    return size if 2 * num_accepted >= size else params.block_size


def num_worth_verifying(confidences: Sequence[float]) -> int:
    """Leading drafts that have a chance to be accepted; at least one, if there is any. Every row
    behind them would cost time on a CPU."""
    kept = len([chance for chance in accumulate(confidences, mul) if chance >= _MIN_CHANCE])
    return max(kept, min(1, len(confidences)))


def _draft(state: Decoding, block: list[int], suffix_head: Sequence[int]) -> Steps[list[float]]:
    """Fills in the masks of `block`; returns the confidence of every slot (1.0 = given)."""
    params = state.params
    asked = params.confidence_threshold is not None or params.max_denoising_steps is not None
    confidences = yield from denoise(
        state,
        block,
        kind="draft",
        threshold=(
            DEFAULT_THRESHOLD
            if params.confidence_threshold is None
            else params.confidence_threshold
        ),
        max_steps=(params.max_denoising_steps or len(block)) if asked else 1,
        suffix_head=suffix_head,
        draft_adapter=True,
    )
    # Should the deadline fall before the verify pass, only what the draft is sure of may be shown.
    drafted = block[1:]
    state.draft = drafted[: num_sure(confidences[1:], DEFAULT_THRESHOLD)]
    return confidences
