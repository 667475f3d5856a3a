"""Copied drafts: what they find, how they mix with the masks' own, and that they change no text."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.decoding.draft_plan import AdaptivePlan
from engine.decoding.lookup import CHANCES, expected_tokens, find_copy, mixed, with_copy
from engine.decoding.modes import choose_drafting
from engine.decoding.sampling import Sampler
from engine.decoding.shared_pass import NO_DRAFT, Draft
from engine.decoding.state import Decoding, DecodingParams
from engine.engine import Engine
from tests.decoding.harness import assert_lossless, decode, only_mask_forbidden
from tests.decoding.test_lossless import prompts


def slow_copy(tokens: list[int], seed: int, max_tokens: int) -> list[int]:
    """Every earlier place compared token by token, the last of the longest taken."""
    whole = [*tokens, seed]
    best = (0, -1)
    for end in range(1, len(tokens) + 1):
        length = 0
        while length < min(end, len(CHANCES)) and whole[end - 1 - length] == whole[-1 - length]:
            length += 1
        if length and length >= best[0]:
            best = (length, end)
    return tokens[best[1] : best[1] + max_tokens] if best[0] else []


@given(st.lists(st.integers(0, 3), max_size=40), st.integers(0, 3), st.integers(1, 9))
def test_the_longest_match_is_copied(tokens: list[int], seed: int, max_tokens: int) -> None:
    found = find_copy(tokens, seed, max_tokens)
    assert found.tokens == slow_copy(tokens, seed, max_tokens)
    assert len(found.confidences) == len(found.tokens)
    assert found.confidences == sorted(found.confidences)


def test_a_longer_match_promises_more() -> None:
    short, long = find_copy([9, 1, 5, 8], 1, 1), find_copy([7, 9, 1, 5, 8, 7, 9], 1, 1)
    assert short.tokens == long.tokens == [5]
    assert short.confidences < long.confidences
    assert find_copy([1, 2, 3], 4, 8) == NO_DRAFT


def test_the_draft_that_promises_more_tokens_wins() -> None:
    masks, copy = Draft([1, 2, 3], [0.9, 0.8, 0.1]), Draft([1, 7, 8, 9], [0.5, 0.9, 0.9, 0.9])
    found = mixed(masks, copy)
    assert found.tokens == [1, 7, 8, 9]
    # Two guessers that agree are surer than each.
    assert found.confidences == pytest.approx([0.95, 0.9, 0.9, 0.9])
    assert mixed(masks, Draft([4, 5], [0.3, 0.3])) == masks
    assert mixed(masks, NO_DRAFT) == masks
    assert mixed(NO_DRAFT, copy) == copy
    assert mixed(Draft([1], [0.5]), copy).tokens == copy.tokens
    assert expected_tokens(Draft([1, 2], [0.5, 0.5])) == pytest.approx(0.75)


def test_only_text_is_copied(tiny: Engine) -> None:
    config = tiny.decoder.config
    sampler = Sampler(
        forbidden=only_mask_forbidden(tiny.decoder),
        temperature=0.0,
        top_p=1.0,
        seed=0,
        dtype=tiny.decoder.dtype,
    )
    for mark in (config.mask_token_id, config.eos_token_ids[0]):
        state = Decoding(config, tiny.decoder.new_cache(), sampler, DecodingParams(8, 40))
        state.cache.tokens = [200, 201, 202, mark, 203, 204]
        assert with_copy(state, 201, NO_DRAFT, 8).tokens == [202]
        assert with_copy(state, 201, NO_DRAFT, 0) == NO_DRAFT


def test_copies_change_no_token_and_save_forwards(tiny: Engine) -> None:
    num_ties, num_forwards = 0, {"ar": 0, "copies": 0, "adaptive": 0, "mixed": 0, "linear": 0}
    for prompt in prompts(3000, 80, tiny):
        expected = decode(tiny.decoder, prompt, "ar", max_tokens=64)
        num_forwards["ar"] += expected.meter.num_forwards
        for name, mode, plan, most in (
            ("copies", "adaptive", AdaptivePlan(max_drafts=0), 16),
            ("adaptive", "adaptive", AdaptivePlan(), 0),
            ("mixed", "adaptive", AdaptivePlan(), 16),
            ("linear", "linear_spec", None, 16),
        ):
            found = decode(
                tiny.decoder, prompt, mode, max_tokens=64, plan=plan, max_copied_tokens=most
            )
            num_ties += assert_lossless(tiny.decoder, prompt, expected.tokens, found.tokens)
            num_forwards[name] += found.meter.num_forwards
    print(num_forwards)
    assert num_ties <= 3
    assert num_forwards["copies"] < 0.8 * num_forwards["ar"]
    assert num_forwards["mixed"] <= num_forwards["adaptive"]


def test_who_names_a_mode_gets_no_copies(tiny: Engine) -> None:
    decoder = replace(tiny.decoder, has_draft_adapter=True)
    for asked in ("quad_spec", "linear_spec", "ar"):
        assert not choose_drafting(asked, None, decoder).max_copied_tokens
    bare = choose_drafting("auto", None, replace(decoder, has_draft_adapter=False))
    assert bare.max_copied_tokens
    # Without an adapter masks are never asked.
    assert not any(bare.plan([0.9, 0.9], 40))
