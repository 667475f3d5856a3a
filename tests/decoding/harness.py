"""Runs one decoding mode on token ids, with the real loop and the real cache, without any text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from engine.decoding.ar import ar
from engine.decoding.diffusion import diffusion
from engine.decoding.draft_plan import AdaptivePlan, Plan
from engine.decoding.forward import Steps, prefill
from engine.decoding.hint import prefill_ahead
from engine.decoding.linear_spec import linear_spec
from engine.decoding.loop import Limits, Meter, run_steps
from engine.decoding.quad_spec import quad_spec
from engine.decoding.sampling import Sampler
from engine.decoding.state import Decoding, DecodingParams
from engine.models.decoder import Decoder

MODES: dict[str, Callable[..., Steps[None]]] = {
    "ar": ar,
    "diffusion": diffusion,
    "linear_spec": linear_spec,
    "quad_spec": quad_spec,
}
# Two best logits this close may change places between forwards of different shapes (fp32).
NEAR_TIE = 1e-4


@dataclass(frozen=True, slots=True)
class Decoded:
    state: Decoding
    meter: Meter

    @property
    def tokens(self) -> list[int]:
        return self.state.tokens


def only_mask_forbidden(decoder: Decoder) -> torch.Tensor:
    forbidden = torch.zeros(decoder.config.vocab_size, dtype=torch.bool)
    forbidden[decoder.config.mask_token_id] = True
    return forbidden


def decode(
    decoder: Decoder,
    prompt: Sequence[int],
    mode: str,
    *,
    max_tokens: int = 64,
    block_size: int = 8,
    threshold: float | None = None,
    max_steps: int | None = None,
    temperature: float = 0.0,
    seed: int = 0,
    plan: Plan | None = None,
    max_copied_tokens: int = 0,
    chunk_tokens: int = 64,
    limits: Limits | None = None,
) -> Decoded:
    """mode: one of MODES, or ``adaptive``: quad_spec as ``auto`` runs it, with `plan`.
    max_copied_tokens: only for speculations."""
    cache = decoder.new_cache()
    sampler = Sampler(
        forbidden=only_mask_forbidden(decoder),
        temperature=temperature,
        top_p=1.0,
        seed=seed,
        dtype=decoder.dtype,
        end_ids=decoder.config.eos_token_ids,
    )
    params = DecodingParams(block_size, max_tokens, threshold, max_steps)
    state = Decoding(decoder.config, cache, sampler, params)
    meter = Meter()

    def adaptive(plan: Plan) -> Steps[None]:
        first = yield from prefill_ahead(state, list(prompt), chunk_tokens, (), plan)
        pick = sampler.pick(first.next_scores)
        if not state.emit_pick(pick):
            draft, most = first.draft(state), max_copied_tokens
            yield from quad_spec(state, pick.tokens[0], plan, draft, max_copied_tokens=most)

    def steps() -> Steps[None]:
        if mode == "adaptive":
            yield from adaptive(plan or AdaptivePlan())
            return
        scores = yield from prefill(list(prompt), cache, chunk_tokens)
        pick = sampler.pick(scores)
        if not state.emit_pick(pick):
            copies = {"max_copied_tokens": max_copied_tokens} if max_copied_tokens else {}
            yield from MODES[mode](state, pick.tokens[0], **copies)

    run_steps(steps(), decoder, cache, meter, limits or Limits())
    cache.check_integrity()
    # Whatever was committed is what was read or emitted, in order.
    known = [*prompt, *state.tokens]
    assert cache.tokens == known[: cache.length] or state.finish_reason == "stop"
    return Decoded(state, meter)


def is_near_tie(decoder: Decoder, prompt: Sequence[int], tokens: Sequence[int], at: int) -> bool:
    """Whether the causal choice of token `at` lies within NEAR_TIE of the second best."""
    cache = decoder.new_cache()
    sampler_forbids = only_mask_forbidden(decoder)
    steps = prefill([*prompt, *tokens[:at]], cache, 10**6)
    scores = run_steps(steps, decoder, cache, Meter(), Limits())
    best = scores.logits.masked_fill(sampler_forbids, float("-inf")).topk(2).values[0]
    return float(best[0] - best[1]) < NEAR_TIE


def assert_lossless(
    decoder: Decoder, prompt: Sequence[int], expected: list[int], found: list[int]
) -> int:
    """Token for token equal, or parting at a near tie. Returns the number of such partings."""
    if expected == found:
        return 0
    pairs = zip(expected, found, strict=False)
    at = next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(expected), len(found)))
    assert is_near_tie(decoder, prompt, expected, at), (
        f"parted at token {at} of {len(expected)} where there is no near tie"
    )
    return 1
