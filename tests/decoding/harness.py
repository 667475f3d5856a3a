"""Runs one decoding mode on token ids, with the real loop and the real cache, without any text."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from engine.decoding.ar import ar
from engine.decoding.batch import run_passes
from engine.decoding.diffusion import diffusion
from engine.decoding.draft_plan import AdaptivePlan, Plan
from engine.decoding.forward import Forward, Steps, prefill
from engine.decoding.hint import prefill_ahead
from engine.decoding.linear_spec import linear_spec
from engine.decoding.loop import Limits, Meter, Pass, can_join, run_steps
from engine.decoding.quad_spec import quad_spec
from engine.decoding.sampling import Sampler
from engine.decoding.state import Decoding, DecodingParams
from engine.models.decoder import Decoder

MODES: dict[str, Callable[[Decoding, int], Steps[None]]] = {
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


class _Begun:
    """A prompt on its way through a mode."""

    def __init__(
        self,
        decoder: Decoder,
        prompt: Sequence[int],
        mode: str,
        params: DecodingParams,
        *,
        temperature: float = 0.0,
        seed: int = 0,
        plan: Plan | None = None,
        chunk_tokens: int = 64,
    ) -> None:
        self.prompt, self.mode, self.plan = list(prompt), mode, plan
        self.chunk_tokens = chunk_tokens
        self.cache = decoder.new_cache()
        self.sampler = Sampler(
            forbidden=only_mask_forbidden(decoder),
            temperature=temperature,
            top_p=1.0,
            seed=seed,
            dtype=decoder.dtype,
            end_ids=decoder.config.eos_token_ids,
        )
        self.state = Decoding(decoder.config, self.cache, self.sampler, params)
        self.meter = Meter()

    def steps(self) -> Steps[None]:
        if self.mode == "adaptive":
            yield from self._adaptive(self.plan or AdaptivePlan())
            return
        logits = yield from prefill(self.prompt, self.cache, self.chunk_tokens)
        pick = self.sampler.pick(logits)
        if not self.state.emit_pick(pick):
            yield from MODES[self.mode](self.state, pick.tokens[0])

    def _adaptive(self, plan: Plan) -> Steps[None]:
        first = yield from prefill_ahead(self.state, self.prompt, self.chunk_tokens, (), plan)
        pick = self.sampler.pick(first.next_logits)
        if not self.state.emit_pick(pick):
            yield from quad_spec(self.state, pick.tokens[0], plan, first.draft(self.state))

    def decoded(self) -> Decoded:
        """Raises AssertionError when the cache holds anything but what was read or emitted."""
        self.cache.check_integrity()
        known = [*self.prompt, *self.state.tokens]
        in_order = self.cache.tokens == known[: self.cache.length]
        assert in_order or self.state.finish_reason == "stop"
        return Decoded(self.state, self.meter)


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
    chunk_tokens: int = 64,
    limits: Limits | None = None,
) -> Decoded:
    """mode: one of MODES, or ``adaptive``: quad_spec as ``auto`` runs it, with `plan`."""
    begun = _Begun(
        decoder,
        prompt,
        mode,
        DecodingParams(block_size, max_tokens, threshold, max_steps),
        temperature=temperature,
        seed=seed,
        plan=plan,
        chunk_tokens=chunk_tokens,
    )
    run_steps(begun.steps(), decoder, begun.cache, begun.meter, limits or Limits())
    return begun.decoded()


def decode_together(
    decoder: Decoder,
    prompts: Sequence[Sequence[int]],
    mode: str,
    *,
    max_tokens: int = 64,
    block_size: int = 8,
) -> list[Decoded]:
    """Like `decode` for each of `prompts`, all in the same model passes as far as they may be."""
    params = DecodingParams(block_size, max_tokens, None, None)
    begun = [_Begun(decoder, prompt, mode, params) for prompt in prompts]
    waiting: list[tuple[_Begun, Steps[None], Forward]] = []
    with torch.inference_mode():
        for each in begun:
            steps = each.steps()
            waiting.append((each, steps, next(steps)))
        while waiting:
            # Prefills first, one by one: then all decode at the same time.
            joined = [one for one in waiting if not can_join(one[2])][:1] or waiting
            passes = [Pass(forward, each.cache) for each, _, forward in joined]
            rest = [one for one in waiting if all(one is not other for other in joined)]
            for (each, steps, forward), output in zip(
                joined, run_passes(passes, decoder), strict=True
            ):
                each.meter.add(forward.kind, 0.0)
                with contextlib.suppress(StopIteration):
                    rest.append((each, steps, steps.send(output)))
            waiting = rest
    return [each.decoded() for each in begun]


def is_near_tie(decoder: Decoder, prompt: Sequence[int], tokens: Sequence[int], at: int) -> bool:
    """Whether the causal choice of token `at` lies within NEAR_TIE of the second best."""
    cache = decoder.new_cache()
    sampler_forbids = only_mask_forbidden(decoder)
    steps = prefill([*prompt, *tokens[:at]], cache, 10**6)
    logits = run_steps(steps, decoder, cache, Meter(), Limits())
    best = logits.masked_fill(sampler_forbids, float("-inf")).topk(2).values[0]
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
