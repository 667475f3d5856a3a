"""Tasks of several answers as runs: begins a FillRequest or a RepairRequest for the engine.

Called by `engine.engine.Engine.begin`. A task takes its caches from the prefix cache and gives them
back when it ends, however it ends.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from engine.decoding.loop import Limits, Meter, Passes, Run
from engine.infill.bench import Bench, Tally
from engine.infill.fill import Filling, fill
from engine.infill.line_ends import LineEnds
from engine.infill.repair import Caches, repair
from engine.infill.selection import Repairing
from engine.messages.completion import Facts
from engine.messages.fill import Fill, FillRequest
from engine.messages.repair import Repair, RepairRequest


def begin_fill(
    bench: Bench, request: FillRequest, *, is_cancelled: Callable[[], bool], arrived_s: float
) -> Run[Filling, Fill]:
    """`request` up to its first forward; arrived_s: time.monotonic() at its arrival."""
    started_s, meter, filling = time.monotonic(), Meter(), Filling.of(request)
    line_ends = LineEnds.of("".join(request.pieces))
    first = bench.lay_out(filling.completion(request, 0)).prompt.context
    cache = bench.prefix_cache.take(request.document, first)
    num_cached_tokens = cache.length

    def passes() -> Passes[Filling]:
        try:
            return (yield from fill(bench, request, filling, cache))
        finally:
            bench.prefix_cache.give_back(request.document, cache)

    def finish(found: Filling) -> Fill:
        return Fill(
            model=bench.model_name,
            texts=tuple(line_ends.restore(text) for text in found.texts),
            finish_reasons=tuple(reason or "stop" for reason in found.reasons),
            num_rounds=found.num_rounds,
            facts=_facts(found.tally, meter, num_cached_tokens, arrived_s, started_s),
        )

    return Run(passes(), meter, _limits(is_cancelled, arrived_s, request.deadline_ms), finish)


def begin_repair(
    bench: Bench, request: RepairRequest, *, is_cancelled: Callable[[], bool], arrived_s: float
) -> Run[Repairing, Repair]:
    """`request` up to its first forward; arrived_s: time.monotonic() at its arrival.

    Raises EngineError when the selection does not fit into the model.
    """
    started_s, meter, repairing = time.monotonic(), Meter(), Repairing.of(bench, request)
    line_ends = LineEnds.of(request.prefix[-4096:] + request.text + request.suffix[:4096])
    judging = bench.prefix_cache.take(request.document, repairing.judged.tokens)
    writing = bench.prefix_cache.take(None, [0])
    num_cached_tokens = judging.length

    def passes() -> Passes[Repairing]:
        try:
            return (yield from repair(bench, repairing, Caches(judging, writing)))
        finally:
            bench.prefix_cache.give_back(request.document, judging)
            bench.prefix_cache.give_back(None, writing)

    def finish(found: Repairing) -> Repair:
        facts = _facts(found.tally, meter, num_cached_tokens, arrived_s, started_s)
        return found.answer(bench.model_name, line_ends, facts)

    return Run(passes(), meter, _limits(is_cancelled, arrived_s, request.deadline_ms), finish)


def _limits(
    is_cancelled: Callable[[], bool], arrived_s: float, deadline_ms: float | None
) -> Limits:
    return Limits(is_cancelled, None if deadline_ms is None else arrived_s + deadline_ms / 1e3)


def _facts(
    tally: Tally, meter: Meter, num_cached_tokens: int, arrived_s: float, started_s: float
) -> Facts:
    timings_ms = {
        "queue": (started_s - arrived_s) * 1e3,
        "prefill": meter.prefill_ms,
        "decode": meter.decode_ms,
        "total": (time.monotonic() - arrived_s) * 1e3,
    }
    return tally.facts(meter, num_cached_tokens, timings_ms)
