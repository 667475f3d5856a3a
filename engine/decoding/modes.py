"""From a mode's name to its steps, with the settings that a request leaves open.

Called by `engine.infill.answer` for every candidate.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from engine.decoding.ar import ar
from engine.decoding.diffusion import diffusion
from engine.decoding.draft_plan import AdaptivePlan, Plan, uniform_plan
from engine.decoding.forward import Steps, prefill
from engine.decoding.linear_spec import linear_spec
from engine.decoding.quad_spec import quad_spec
from engine.decoding.shared_pass import NO_DRAFT, Draft, Prefilled, prefill_with_draft
from engine.decoding.state import Decoding
from engine.messages.completion import Mode

# A CPU turns compute-bound at about a dozen tokens per forward; a GPU has width to spare.
_CPU_BLOCK_SIZE, _GPU_BLOCK_SIZE = 8, 32
_CPU_MIN_GAIN, _GPU_MIN_GAIN = 0.05, 0.005
_CPU_MAX_DRAFTS, _GPU_MAX_DRAFTS = 6, 15


def default_block_size(device: torch.device) -> int:
    return _GPU_BLOCK_SIZE if device.type == "cuda" else _CPU_BLOCK_SIZE


def draft_plan(asked: Mode, block_size: int | None, device: torch.device) -> Plan:
    """The plan of quad_spec for a request with mode `asked` and its `block_size`, if it has one.

    Who asks for quadratic speculation of a size gets the published layout.
    """
    if asked == "quad_spec" and block_size is not None:
        return uniform_plan(block_size)
    on_gpu = device.type == "cuda"
    most = _GPU_MAX_DRAFTS if on_gpu else _CPU_MAX_DRAFTS
    return AdaptivePlan(
        min_gain=_GPU_MIN_GAIN if on_gpu else _CPU_MIN_GAIN,
        max_drafts=most if block_size is None else min(most, block_size - 1),
    )


def prefill_for(
    mode: Mode, state: Decoding, plan: Plan, tokens: Sequence[int], chunk_tokens: int
) -> Steps[Prefilled]:
    """The prefill that `mode` begins with: quad_spec drafts in it already."""
    if mode == "quad_spec":
        depth = plan([], state.num_remaining_tokens)[0]
        return (yield from prefill_with_draft(state, tokens, chunk_tokens, depth))
    return Prefilled((yield from prefill(tokens, state.cache, chunk_tokens)), NO_DRAFT)


def mode_steps(
    mode: Mode,
    state: Decoding,
    seed: int,
    *,
    suffix_head: Sequence[int],
    plan: Plan,
    draft: Draft,
) -> Steps[None]:
    """Decode behind `seed`, which is emitted but not yet cached. mode: never ``auto``."""
    match mode:
        case "ar":
            return ar(state, seed)
        case "quad_spec":
            return quad_spec(state, seed, plan, draft)
        case "diffusion":
            return diffusion(state, seed, suffix_head)
        case _:
            return linear_spec(state, seed, suffix_head)
