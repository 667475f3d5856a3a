"""From a mode's name to its steps, with the settings that a request leaves open.

Called by `engine.infill.answer` for every candidate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from engine.decoding.ar import ar
from engine.decoding.diffusion import diffusion, threshold_of
from engine.decoding.draft_plan import AdaptivePlan, Plan, uniform_plan
from engine.decoding.forward import Steps
from engine.decoding.hint import Ahead, follow_hint, hint_behind
from engine.decoding.linear_spec import linear_spec
from engine.decoding.quad_spec import quad_spec
from engine.decoding.state import Decoding
from engine.messages.completion import Mode
from engine.models.decoder import Decoder

# A CPU turns compute-bound at about a dozen tokens per forward; a GPU has width to spare.
_CPU_BLOCK_SIZE, _GPU_BLOCK_SIZE = 8, 32
_CPU_PLAN = AdaptivePlan(min_gain=0.05, max_drafts=6)
# A dozen rows take 1.4 times as long as one, each more a tenth of its time; the adapter alone takes
# that of half a token (docs/performance.md).
_INT8_PLAN = AdaptivePlan(min_gain=0.15, max_drafts=6, free_rows=12, free_gain=0.06, mask_gain=0.4)
_GPU_PLAN = AdaptivePlan(min_gain=0.005, max_drafts=15)
_CPU_COPIED_TOKENS, _GPU_COPIED_TOKENS = 16, 32


def default_block_size(device: torch.device) -> int:
    return _GPU_BLOCK_SIZE if device.type == "cuda" else _CPU_BLOCK_SIZE


def max_block_size(decoder: Decoder) -> int | None:
    """Up to which linear_spec's blocks grow; None where a wide block costs no more than a short
    one, which is then wide from the start."""
    return None if decoder.device.type == "cuda" else _GPU_BLOCK_SIZE


@dataclass(frozen=True, slots=True)
class Drafting:
    """How a request speculates. plan: of quad_spec; max_copied_tokens: see `quad_spec`."""

    plan: Plan
    max_copied_tokens: int = 0


def choose_drafting(asked: Mode, block_size: int | None, decoder: Decoder) -> Drafting:
    """The drafting of a request with mode `asked` and its `block_size`, if it has one.

    Who asks for a mode by name gets its published form: masks only, and quadratic speculation of
    a size in the published layout.
    """
    if asked == "quad_spec" and block_size is not None:
        return Drafting(uniform_plan(block_size))
    on_gpu = decoder.device.type == "cuda"
    on_cpu = _CPU_PLAN if decoder.native is None else _INT8_PLAN
    plan = _GPU_PLAN if on_gpu else on_cpu
    most = plan.max_drafts
    if asked == "auto" and not decoder.has_draft_adapter:
        # Masks are worth nothing untrained: only what is copied is verified.
        most = 0
    most = most if block_size is None else min(most, block_size - 1)
    most_copied = _GPU_COPIED_TOKENS if on_gpu else _CPU_COPIED_TOKENS
    return Drafting(replace(plan, max_drafts=most), most_copied if asked == "auto" else 0)


def mode_steps(
    mode: Mode,
    state: Decoding,
    seed: int,
    *,
    suffix_head: Sequence[int],
    drafting: Drafting,
    hint: Sequence[int],
    ahead: Ahead,
) -> Steps[None]:
    """Decode behind `seed`, which is emitted but not yet cached. mode: never ``auto``.

    ahead: the last pass of the prefill, which has judged the beginning of `hint`.
    """
    plan, most_copied = drafting.plan, drafting.max_copied_tokens
    hint = hint_behind(hint, ahead, seed)
    seed, later = yield from follow_hint(state, seed, hint, plan if mode == "quad_spec" else None)
    ahead = later or ahead
    match mode:
        case "ar":
            yield from ar(state, seed)
        case "quad_spec":
            # In a prefill, healing may have gone on beyond the token that the drafts stand behind.
            num_emitted = 0 if later else len(state.tokens) - 1 - ahead.num_right
            draft = ahead.draft(state).behind(num_emitted)
            yield from quad_spec(state, seed, plan, draft, max_copied_tokens=most_copied)
        case "diffusion":
            start = ahead.canvas(state, threshold_of(state.params))
            yield from diffusion(state, seed, suffix_head, start)
        case _:
            yield from linear_spec(state, seed, suffix_head, max_copied_tokens=most_copied)
