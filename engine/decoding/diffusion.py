"""diffusion: block after block by confidence-threshold denoising (FastDiffuser).

Nemotron-Labs-Diffusion's ``generate`` with causal_context=True: the seed of a block comes from a
causal pass, the finished block goes through one more causal pass that writes its KV.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from engine.decoding.denoise import denoise
from engine.decoding.forward import Forward, Steps, row
from engine.decoding.state import Decoding

DEFAULT_THRESHOLD = 0.9


def diffusion(state: Decoding, seed: int, suffix_head: Sequence[int] = ()) -> Steps[None]:
    """Continue behind `seed`, which is emitted but not yet cached."""
    params = state.params
    while not state.is_finished:
        block_size = min(params.block_size, state.num_remaining_tokens + 1)
        block = [seed] + [state.config.mask_token_id] * (block_size - 1)
        confidences = yield from denoise(
            state,
            block,
            kind="denoise",
            threshold=(
                DEFAULT_THRESHOLD
                if params.confidence_threshold is None
                else params.confidence_threshold
            ),
            max_steps=params.max_denoising_steps or block_size,
            suffix_head=suffix_head,
            # A same-position model denoises by itself; its adapter only sharpens drafts. A
            # mask-gated adapter is what makes the base a diffusion model in the first place.
            draft_adapter=state.config.adapter_scope == "masks",
            sample=True,
        )
        logprobs = [math.log(max(confidence, 1e-30)) for confidence in confidences]
        if state.emit(block[1:], logprobs[1:]):
            return
        output = yield Forward("commit", row(block, state.device), "causal")
        state.cache.commit(block)
        pick = state.sampler.pick(output.logits([block_size - 1]))
        seed = pick.tokens[0]
        state.emit_pick(pick)
