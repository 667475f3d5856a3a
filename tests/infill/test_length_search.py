"""Length search by itself: what the ranking prefers, and what it never changes."""

from __future__ import annotations

import pytest

from engine.decoding.forward import Steps, prefill
from engine.decoding.loop import Limits, Meter, run_steps
from engine.decoding.sampling import Sampler
from engine.decoding.state import Decoding, DecodingParams
from engine.engine import Engine
from engine.infill.length_search import Row, Window, length_search
from tests.decoding.harness import only_mask_forbidden
from tests.tiny_model import language


def search(
    engine: Engine, hole: language.Hole, line_ends: frozenset[int], max_tokens: int = 16
) -> tuple[list[Row], Meter]:
    decoder = engine.decoder
    cache = decoder.new_cache()
    *context, last = engine.tokenizer.encode(hole.prefix)
    sampler = Sampler(
        forbidden=only_mask_forbidden(decoder),
        temperature=0.0,
        top_p=1.0,
        seed=0,
        dtype=decoder.dtype,
    )
    state = Decoding(decoder.config, cache, sampler, DecodingParams(8, max_tokens))
    window = Window(last, engine.tokenizer.encode(hole.suffix)[:6], None, line_ends)
    meter = Meter()

    def steps() -> Steps[list[Row]]:
        yield from prefill(context, cache, 64)
        return (yield from length_search(state, window))

    rows = run_steps(steps(), decoder, cache, meter, Limits())
    # Candidates are thrown away: the cache holds the prefix and nothing else.
    assert cache.tokens == context
    return rows, meter


def some_hole() -> language.Hole:
    holes = language.holes(3, 200)
    return next(h for h in holes if h.cut == "token" and 5 < h.num_middle_tokens < 12)


def test_rows_are_ranked_distinct_and_whole(tiny: Engine) -> None:
    rows, meter = search(tiny, some_hole(), frozenset())
    assert [row.score for row in rows] == sorted((row.score for row in rows), reverse=True)
    assert len({tuple(row.middle) for row in rows}) == len(rows)
    mask_id = tiny.decoder.config.mask_token_id
    assert all(mask_id not in row.middle for row in rows)
    assert tiny.tokenizer.decode(rows[0].middle) == some_hole().middle
    # All lengths ride in one forward per step; one more ranks them.
    assert meter.counts["rank"] == 1
    assert 1 <= meter.counts["denoise"] <= 8


def test_line_ends_cost_a_candidate_inside_a_line(tiny: Engine) -> None:
    line_ends = tiny.tokenizer.newline_tokens()
    free, _ = search(tiny, some_hole(), frozenset())
    bound, _ = search(tiny, some_hole(), line_ends)
    before = {tuple(row.middle): row.score for row in free}
    changed = [
        before[tuple(row.middle)] - row.score for row in bound if tuple(row.middle) in before
    ]
    several = [row for row in bound if not line_ends.isdisjoint(row.middle)]
    assert several and len(several) < len(bound)
    assert max(changed) == pytest.approx(0.5)
    assert min(changed) == 0.0
