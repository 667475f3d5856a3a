"""diffusion: block after block by confidence-threshold denoising (FastDiffuser).

Nemotron-Labs-Diffusion's ``generate`` with causal_context=True: the seed of a block comes from a
causal pass, the finished block goes through one more causal pass that writes its KV.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from engine.decoding.denoise import denoise
from engine.decoding.forward import Forward, Steps, row
from engine.decoding.shared_pass import NO_DRAFT, Draft
from engine.decoding.state import Decoding, DecodingParams

DEFAULT_THRESHOLD = 0.9


def threshold_of(params: DecodingParams) -> float:
    """The confidence from which a token is committed."""
    asked = params.confidence_threshold
    return DEFAULT_THRESHOLD if asked is None else asked


def diffusion(
    state: Decoding, seed: int, suffix_head: Sequence[int] = (), start: Draft = NO_DRAFT
) -> Steps[None]:
    """Continue behind `seed`, which is emitted but not yet cached.

    start: what the first block begins with instead of masks only. It comes from a hint that parted
    from the text just before `seed`: where a causal pass found a hinted token less likely than
    `threshold_of` the request, it is masked again, and the masks are denoised among the rest. What
    is kept is as committed as a token that denoising itself was that sure of.
    """
    params = state.params
    while not state.is_finished:
        block_size = min(params.block_size, state.num_remaining_tokens + 1)
        block = [seed, *start.tokens, *[state.config.mask_token_id] * block_size][:block_size]
        confidences = yield from denoise(
            state,
            block,
            kind="denoise",
            threshold=threshold_of(params),
            max_steps=params.max_denoising_steps or block_size,
            suffix_head=suffix_head,
            # A same-position model denoises by itself; its adapter only sharpens drafts. A
            # mask-gated adapter is what makes the base a diffusion model in the first place.
            draft_adapter=state.config.adapter_scope == "masks",
            sample=True,
        )
        for slot, token in enumerate(start.tokens[: block_size - 1], 1):
            if block[slot] == token:
                # What was kept of the start is as sure as its judge was.
                confidences[slot] = start.confidences[slot - 1]
        start = NO_DRAFT
        logprobs = [math.log(max(confidence, 1e-30)) for confidence in confidences]
        if state.emit(block[1:], logprobs[1:]):
            return
        output = yield Forward("commit", row(block), "causal")
        state.cache.commit(block)
        pick = state.sampler.pick(output.scores([block_size - 1]))
        seed = pick.tokens[0]
        state.emit_pick(pick)
