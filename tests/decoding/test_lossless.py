"""Speculation equals ar, token for token, in fp32; and every mode equals its slow reference."""

from __future__ import annotations

import random

import pytest

from engine.engine import Engine
from tests.decoding.harness import assert_lossless, decode
from tests.reference import modes as slow
from tests.reference import network
from tests.tiny_model import language

NUM_PROMPTS, NUM_TOKENS = 1000, 64
# Runs of this many prompts go to one test worker.
CHUNK = 125
# More partings than this would be no accident of rounding.
MAX_NEAR_TIES_PER_CHUNK = 3


def prompts(start: int, num: int, engine: Engine) -> list[list[int]]:
    """Token prompts of the tiny language, cut anywhere; every fifth is noise."""
    found = []
    for number in range(start, start + num):
        rng = random.Random(number)
        if number % 5 == 4:
            found.append([rng.randrange(110, 500) for _ in range(rng.randrange(1, 60))])
            continue
        text = next(iter(language.documents(number, held_out=True))).text
        tokens = engine.tokenizer.encode(text)
        found.append(tokens[: rng.randrange(1, len(tokens))])
    return found


@pytest.mark.parametrize("start", range(0, NUM_PROMPTS, CHUNK))
def test_speculation_equals_ar(tiny: Engine, start: int) -> None:
    num_near_ties = {"linear_spec": 0, "quad_spec": 0, "adaptive": 0}
    num_forwards = {"ar": 0, **num_near_ties}
    for number, prompt in enumerate(prompts(start, CHUNK, tiny)):
        expected = decode(tiny.decoder, prompt, "ar", max_tokens=NUM_TOKENS)
        num_forwards["ar"] += expected.meter.num_forwards
        linear_size = (8, 16, 32)[number % 3]
        for mode, block_size in (("linear_spec", linear_size), ("quad_spec", 8), ("adaptive", 8)):
            found = decode(tiny.decoder, prompt, mode, max_tokens=NUM_TOKENS, block_size=block_size)
            num_near_ties[mode] += assert_lossless(
                tiny.decoder, prompt, expected.tokens, found.tokens
            )
            num_forwards[mode] += found.meter.num_forwards
    assert max(num_near_ties.values()) <= MAX_NEAR_TIES_PER_CHUNK, num_near_ties
    # A speculation that never pays would be equal, too.
    assert num_forwards["linear_spec"] < 0.75 * num_forwards["ar"]
    assert num_forwards["quad_spec"] < 0.5 * num_forwards["ar"]
    assert num_forwards["adaptive"] < 0.5 * num_forwards["ar"]


@pytest.fixture(scope="module")
def slow_tiny(tiny_config: object) -> slow.Model:
    return slow.Model(network.load(language.CHECKPOINT))


@pytest.mark.parametrize("number", range(6))
def test_modes_equal_their_slow_references(
    tiny: Engine, slow_tiny: slow.Model, number: int
) -> None:
    """Same tokens and the same number of forwards as the naive implementations without a cache."""
    prompt = prompts(7000 + number, 1, tiny)[0]
    reference = {
        "ar": slow.ar(slow_tiny, prompt, 40),
        "linear_spec": slow.linear_spec(slow_tiny, prompt, 40, block_size=8),
        "quad_spec": slow.quad_spec(slow_tiny, prompt, 40, block_size=4),
    }
    for mode, expected in reference.items():
        block_size = 4 if mode == "quad_spec" else 8
        found = decode(tiny.decoder, prompt, mode, max_tokens=40, block_size=block_size)
        if found.tokens != expected.tokens:
            assert_lossless(tiny.decoder, prompt, expected.tokens, found.tokens)
            continue
        assert found.meter.num_forwards == expected.num_forwards, mode


@pytest.mark.parametrize("number", range(6))
@pytest.mark.parametrize("threshold", [0.6, 0.9, 1.0])
def test_diffusion_equals_its_slow_reference(
    tiny: Engine, slow_tiny: slow.Model, number: int, threshold: float
) -> None:
    prompt = prompts(8000 + number, 1, tiny)[0]
    expected = slow.diffusion(slow_tiny, prompt, 33, block_size=16, threshold=threshold)
    found = decode(
        tiny.decoder, prompt, "diffusion", max_tokens=33, block_size=16, threshold=threshold
    )
    assert found.tokens == expected.tokens
    # The reference finishes each block with its causal pass; the engine leaves out the last one,
    # which nobody would read.
    assert 0 <= expected.num_forwards - found.meter.num_forwards <= 1
