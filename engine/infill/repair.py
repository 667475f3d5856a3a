"""Repair: the doubtful tokens of a selection, written anew, kept where the model likes them better.

Which tokens are in doubt the request says, or one causal pass over the selection does: the least
likely ones. Span after span is then written anew, as a hole between both sides; a diffusion model
also masks the span's own tokens and denoises them in place. A causal pass judges the selection with
each proposal, and only what raises its mean log-probability per token stays. Run by
`engine.infill.tasks`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from engine.decoding.denoise import denoise
from engine.decoding.diffusion import DEFAULT_THRESHOLD
from engine.decoding.forward import Steps, prefill
from engine.decoding.loop import Interrupted, Passes, on_cache
from engine.decoding.sampling import Sampler
from engine.decoding.state import Decoding, DecodingParams
from engine.infill.bench import INTERRUPTED, Bench, crop_to
from engine.infill.judge import Judged, judge
from engine.infill.selection import Repairing
from engine.kv_cache import KVCache
from engine.messages.completion import CompletionRequest
from engine.messages.repair import Span

# A block of one denoising: the token before the span, the span, and what stands right of it.
_MAX_BLOCK_TOKENS = 32
_NUM_RIGHT_TOKENS = 16
_MAX_STEPS = 8
# How much longer than the span what fills it may be.
_SPARE_TOKENS = 8
# Gains below this are rounding.
_MIN_GAIN = 1e-4

_Written = tuple[str, Span]
"""A text, and the span that it is to replace, which may be wider than the one asked for."""


class Caches(NamedTuple):
    """For the passes that judge the text, and for those that write."""

    judging: KVCache
    writing: KVCache


class _Proposal(NamedTuple):
    """judged: the whole text with `length` other characters in place of `span`."""

    judged: Judged
    span: Span
    length: int


def repair(bench: Bench, repairing: Repairing, caches: Caches) -> Passes[Repairing]:
    """Repair `repairing`, which is returned. An Interrupted thrown in ends it with what it has."""
    steps = judge(repairing.judged, None, caches.judging, bench.tools.prefill_chunk_tokens)
    try:
        yield from on_cache(steps, caches.judging)
        repairing.score_before = repairing.judged.score
        shift = 0
        for first, last in repairing.doubtful():
            old = repairing.judged
            yield from _repair_span(bench, repairing, (first + shift, last + shift), caches)
            shift += len(repairing.judged.text) - len(old.text)
            if repairing.finish_reason in INTERRUPTED:
                break
    except Interrupted as interrupted:
        repairing.finish_reason = interrupted.why
    return repairing


def _repair_span(bench: Bench, repairing: Repairing, span: Span, caches: Caches) -> Passes[None]:
    """Accept the best proposal for `span`, if it is better than what stands there. Raises
    Interrupted, as what has not been compared with all others is no answer yet."""
    old, best = repairing.judged, None
    for propose in _ways(bench):
        written = yield from propose(bench, repairing, span, caches.writing)
        if repairing.finish_reason in INTERRUPTED:
            return
        if written is None:
            continue
        text, (start, end) = written
        whole = old.text[:start] + text + old.text[end:]
        if whole == old.text:
            continue
        new = Judged.of(whole, repairing.laid, bench.tools.tokenizer)
        steps = judge(new, old, caches.judging, bench.tools.prefill_chunk_tokens)
        yield from on_cache(steps, caches.judging)
        if new.score > (old.score + _MIN_GAIN if best is None else best.judged.score):
            best = _Proposal(new, (start, end), len(text))
    if best is not None:
        repairing.accept(best.judged, best.span, best.length)


_Way = Callable[[Bench, Repairing, Span, KVCache], Passes[_Written | None]]


def _ways(bench: Bench) -> tuple[_Way, ...]:
    """The ways to write a span anew that the model has."""
    if bench.tools.decoder.config.adapter_scope == "block":
        return (_masked_in_place, _filled)
    return (_filled,)


def _filled(
    bench: Bench, repairing: Repairing, span: Span, cache: KVCache
) -> Passes[_Written | None]:
    """`span` as a hole of any length; None when nothing is found for it."""
    text, request = repairing.judged.text, repairing.request
    num_tokens = len(repairing.judged.overlapping(span))
    asked = CompletionRequest(
        prompt=repairing.prefix + text[: span[0]],
        suffix=text[span[1] :] + repairing.suffix,
        max_tokens=min(2 * num_tokens + _SPARE_TOKENS, request.max_tokens),
        # Something stood there.
        gate=False,
    )
    candidate = yield from repairing.tally.decode(bench.answer(asked, cache))
    if candidate is not None and candidate.finish_reason in INTERRUPTED:
        repairing.finish_reason = candidate.finish_reason
        return None
    return None if candidate is None or not candidate.text else (candidate.text, span)


def _masked_in_place(
    bench: Bench, repairing: Repairing, span: Span, cache: KVCache
) -> Passes[_Written | None]:
    return (yield from on_cache(_denoised(bench, repairing, span, cache), cache))


def _denoised(
    bench: Bench, repairing: Repairing, span: Span, cache: KVCache
) -> Steps[_Written | None]:
    """The tokens of `span` masked and denoised: as many as there were, block after block."""
    tools, judged = bench.tools, repairing.judged
    slots = [at for at in judged.overlapping(span) if judged.starts[at] >= 0]
    if not slots:
        return None
    first, last = slots[0], slots[-1] + 1
    tokens = list(judged.tokens)
    offset = len(judged.context)
    right = [*tokens, *repairing.laid.prompt.suffix_tokens[len(judged.tail) :]]
    state = _state(bench, cache)
    for start in range(first, last, _MAX_BLOCK_TOKENS - 1):
        end = min(start + _MAX_BLOCK_TOKENS - 1, last)
        left = tokens[: offset + start]
        crop_to(cache, left)
        if len(left) - 1 > cache.length:
            yield from prefill(left[cache.length : -1], cache, tools.prefill_chunk_tokens)
        block = [left[-1], *[tools.decoder.config.mask_token_id] * (end - start)]
        behind = right[offset + end :][:_NUM_RIGHT_TOKENS] if end == last else []
        yield from denoise(
            state,
            block,
            kind="denoise",
            threshold=DEFAULT_THRESHOLD,
            max_steps=_MAX_STEPS,
            suffix_head=behind,
        )
        tokens[offset + start : offset + end] = block[1:]
        repairing.tally.num_tokens += end - start
    repairing.tally.mode = "diffusion"
    repairing.tally.reason = "The doubtful tokens were masked and denoised between both sides."
    data = tools.tokenizer.decode_bytes(tokens[offset + first : offset + last])
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        # Tokens may share a character with their neighbours, or spell none at all.
        return None
    return text, (judged.starts[first], judged.ends()[last - 1])


def _state(bench: Bench, cache: KVCache) -> Decoding:
    """For denoising what stands in the middle of a text: no slot may end it."""
    config = bench.tools.decoder.config
    forbidden = bench.tools.forbidden.clone()
    forbidden[list(config.eos_token_ids)] = True
    sampler = Sampler(
        forbidden=forbidden,
        temperature=0.0,
        top_p=1.0,
        seed=0,
        dtype=bench.tools.decoder.dtype,
        end_ids=config.eos_token_ids,
    )
    return Decoding(config, cache, sampler, DecodingParams(_MAX_BLOCK_TOKENS, _MAX_BLOCK_TOKENS))
