"""A CompletionRequest as a run: from the text around a cursor to a Completion.

Called by `engine.engine.Engine.begin`. The run takes the document's KV from the prefix cache and
gives it back when it ends, however it ends.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import replace

from engine.decoding.loop import Limits, Meter, Passes, Run
from engine.infill.alternatives import Candidate
from engine.infill.answer import Answer
from engine.infill.bench import Bench
from engine.infill.hole import Hole
from engine.infill.line_ends import LineEnds, plain
from engine.infill.route import choose_route
from engine.messages.completion import Choice, Completion, CompletionRequest, Facts

CompletionRun = Run[list[Candidate], Completion]


def begin_completion(
    bench: Bench,
    request: CompletionRequest,
    *,
    is_cancelled: Callable[[], bool],
    arrived_s: float,
    emit: Callable[[int, str], None],
) -> CompletionRun:
    """`request` up to its first forward; the arguments are those of `Engine.begin`."""
    started_s, meter = time.monotonic(), Meter()
    line_ends = LineEnds.of(request.prompt[-4096:] + request.suffix[:4096])
    answer = _answer(bench, replace(request, stop=tuple(plain(stop) for stop in request.stop)))
    num_cached_tokens, built_s = answer.cache.length, time.monotonic()

    def passes() -> Passes[list[Candidate]]:
        def restored(index: int, text: str) -> None:
            emit(index, line_ends.restore(text))

        try:
            return (yield from answer.passes(restored))
        finally:
            bench.prefix_cache.give_back(request.document, answer.cache)

    def finish(candidates: list[Candidate]) -> Completion:
        timings_ms = {
            "queue": (started_s - arrived_s) * 1e3,
            "prompt": (built_s - started_s) * 1e3,
            "prefill": meter.prefill_ms,
            "decode": meter.decode_ms,
            "total": (time.monotonic() - arrived_s) * 1e3,
        }
        facts = _facts(answer, meter, candidates, num_cached_tokens, timings_ms)
        texts = [line_ends.restore(candidate.text) for candidate in candidates]
        return _completion(bench.model_name, answer, candidates, texts, facts)

    deadline_s = None if request.deadline_ms is None else arrived_s + request.deadline_ms / 1e3
    return Run(passes(), meter, Limits(is_cancelled, deadline_s), finish)


def _answer(bench: Bench, request: CompletionRequest) -> Answer:
    """`request` before its first forward, with the KV that is kept of its document."""
    decoder = bench.tools.decoder
    hole = Hole(plain(request.prompt), plain(request.suffix))
    route = choose_route(
        request.mode,
        hole,
        decoder.config,
        has_draft_adapter=decoder.has_draft_adapter,
        has_causal_adapter=bench.has_causal_adapter,
    )
    prompt = bench.prompts.build(hole, route, request.document, request.context, request.path)
    cache = bench.prefix_cache.take(request.document, prompt.context)
    return Answer(bench.tools, request, hole, route, prompt, bench.prefix_cache, cache)


def _facts(
    answer: Answer,
    meter: Meter,
    candidates: Sequence[Candidate],
    num_cached_tokens: int,
    timings_ms: dict[str, float],
) -> Facts:
    best, speculation = candidates[0], answer.speculation
    return Facts(
        mode=answer.route.mode,
        route=answer.route.name,
        route_reason=answer.route.reason,
        forwards=meter.num_forwards,
        prefill_forwards=meter.num_prefill,
        tokens=sum(candidate.num_tokens for candidate in candidates),
        score=best.score,
        num_near_ties=sum(candidate.num_near_ties for candidate in candidates),
        cached_tokens=num_cached_tokens,
        timings_ms={name: round(value, 2) for name, value in timings_ms.items()},
        num_cycles=speculation.num_cycles,
        num_drafted_tokens=speculation.num_drafted_tokens,
        num_accepted_tokens=speculation.num_accepted_tokens,
        num_hinted_tokens=speculation.num_hinted_tokens,
        num_right_hints=speculation.num_right_hints,
        gated=best.is_withheld,
        gate_features=best.gate_features,
    )


def _completion(
    model: str,
    answer: Answer,
    candidates: Sequence[Candidate],
    texts: Sequence[str],
    facts: Facts,
) -> Completion:
    return Completion(
        id=f"cmpl-{uuid.uuid4().hex}",
        created=int(time.time()),
        model=model,
        choices=tuple(
            Choice(index, text, candidate.finish_reason)
            for index, (text, candidate) in enumerate(zip(texts, candidates, strict=True))
        ),
        prompt_tokens=len(answer.prompt.context),
        completion_tokens=facts.tokens,
        facts=facts,
    )
