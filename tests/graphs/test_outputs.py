"""What holds of a pass when the next one has begun, and what a choice of ids costs."""

from __future__ import annotations

import pytest
import torch

from engine.decoding.forward import Forward, run_forward
from engine.decoding.hint import follow_hint, prefill_ahead
from engine.decoding.sampling import Sampler
from engine.decoding.state import Decoding, DecodingParams
from engine.models.decoder import Decoder
from engine.models.survey import Choosable
from tests.graphs.harness import TOLERANCE, choosable_of, filled, tokens
from tests.graphs.recorder import causal, made, ran


def test_logits_are_kept_for_later_or_refused(decoder: Decoder) -> None:
    runner, _ = made(decoder)
    cache = filled(decoder, 20)
    forwards = [Forward("verify", torch.tensor([tokens(6, seed)]), "causal") for seed in (1, 2, 3)]
    expected = [ran(runner, forward, cache) for forward in forwards]
    lazy, kept = (runner.run(forward, cache) for forward in forwards[:2])
    assert lazy is not None and kept is not None
    scores = kept.scores([1, 4]).kept()
    runner.run(forwards[2], cache)
    torch.testing.assert_close(scores.logits, expected[1][[1, 4]], atol=0, rtol=0)
    with pytest.raises(AssertionError, match="next pass"):
        lazy.logits([0])
    # The survey was read back with the pass itself.
    found = lazy.scores([0]).survey(runner.choosable)
    assert found.best.item() in expected[0][0].tolist()


def test_what_a_hints_pass_tells_is_kept(decoder: Decoder) -> None:
    """Other candidates begin with it, when other passes have run."""
    runner, _ = made(decoder)
    for num_hinted in (0, 6):
        cache = filled(decoder, 20)
        sampler = Sampler(
            forbidden=runner.choosable.penalty < 0,
            temperature=0.0,
            top_p=1.0,
            seed=0,
            dtype=decoder.dtype,
            end_ids=decoder.config.eos_token_ids,
            choosable=runner.choosable,
        )
        state = Decoding(decoder.config, cache, sampler, DecodingParams(8, 32))
        steps = prefill_ahead(state, tokens(5, 1), 64, tokens(num_hinted, 2), None)
        forward = next(steps)
        expected = run_forward(forward, decoder, filled(decoder, 20)).logits([4])
        output = runner.run(forward, cache)
        assert output is not None
        with pytest.raises(StopIteration) as end:
            steps.send(output)
        ran(runner, causal(decoder, 8), filled(decoder, 3))
        ahead = end.value.value
        torch.testing.assert_close(ahead.next_scores.logits, expected, **TOLERANCE)
        # The same with the hints that are judged behind it.
        hinted = follow_hint(state, 200, tokens(5, 3), None)
        judged = next(hinted)
        logits = ran(runner, judged, cache)
        second = runner.run(judged, cache)
        assert second is not None
        with pytest.raises(StopIteration) as end:
            hinted.send(second)
        ran(runner, causal(decoder, 8), filled(decoder, 3))
        found = end.value.value[1]
        torch.testing.assert_close(found.scores.logits, logits, atol=0, rtol=0)


def test_logits_are_the_callers_own_to_change(decoder: Decoder) -> None:
    runner, _ = made(decoder)
    found = runner.run(causal(decoder, 6), filled(decoder, 20))
    assert found is not None
    first = found.logits(slice(None))
    before = first.clone()
    first.zero_()
    torch.testing.assert_close(found.logits(slice(None)), before, atol=0, rtol=0)


def test_another_choice_of_ids_is_surveyed_anew(decoder: Decoder) -> None:
    runner, _ = made(decoder)
    found = runner.run(causal(decoder, 6), filled(decoder, 20))
    assert found is not None
    best = found.scores([2]).survey(runner.choosable).tokens.item()
    forbidden = choosable_of(decoder).penalty < 0
    forbidden[best] = True
    other = Choosable.of(forbidden, decoder.config.eos_token_ids)
    again = found.scores([2]).survey(other)
    assert again.tokens.item() != best
    assert again.best.item() == found.scores([2]).survey(runner.choosable).second.item()
