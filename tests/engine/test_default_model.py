"""The default model on real code: speculation is lossless, and a hole gets what fits."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.adapters import built_in_adapter
from engine.config import DEFAULT_MODEL, EngineConfig
from engine.engine import Engine
from engine.messages.completion import CompletionRequest
from tests.decoding.harness import assert_lossless, decode
from tests.engine.real_code import cuts

# A hundred prompts in fp32 stream 2 GB of weights 14,000 times: minutes per test when it is busy.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

NUM_PROMPTS, NUM_TOKENS = 100, 48
CHUNK = 5
MAX_NEAR_TIES_PER_CHUNK = 1


@pytest.fixture(scope="module")
def engine(default_model: Path) -> Engine:
    return Engine.load(
        EngineConfig(
            model=str(default_model),
            device="cpu",
            dtype="float32",
            num_threads=1,
            # A model given as a folder gets none by itself.
            causal_adapter=built_in_adapter(DEFAULT_MODEL, "causal"),
            draft_adapter=built_in_adapter(DEFAULT_MODEL, "draft"),
        )
    )


@pytest.mark.parametrize("start", range(0, NUM_PROMPTS, CHUNK))
def test_speculation_equals_ar_on_real_code(engine: Engine, start: int) -> None:
    num_near_ties = {"linear_spec": 0, "quad_spec": 0}
    for cut in cuts(NUM_PROMPTS, max_chars=240)[start : start + CHUNK]:
        prompt = engine.tokenizer.encode(cut.prefix)
        expected = decode(engine.decoder, prompt, "ar", max_tokens=NUM_TOKENS)
        for mode, block_size in (("linear_spec", 8), ("quad_spec", 3)):
            found = decode(
                engine.decoder, prompt, mode, max_tokens=NUM_TOKENS, block_size=block_size
            )
            num_near_ties[mode] += assert_lossless(
                engine.decoder, prompt, expected.tokens, found.tokens
            )
            # Even an untrained adapter's cycle of two forwards emits two tokens.
            assert found.meter.num_forwards <= expected.meter.num_forwards + 1
    assert max(num_near_ties.values()) <= MAX_NEAR_TIES_PER_CHUNK, num_near_ties


def test_a_real_hole_is_filled(engine: Engine) -> None:
    prompt = (
        "def mean(numbers):\n"
        '    """Arithmetic mean of a non-empty list of numbers."""\n'
        "    total = sum(numbers)\n"
        "    ret"
    )
    suffix = "\n\n\nprint(mean([1, 2, 3]))\n"
    for mode in ("auto", "ar"):
        found = engine.complete(CompletionRequest(prompt=prompt, suffix=suffix, mode=mode))  # type: ignore[arg-type]
        assert found.choices[0].text == "urn total / len(numbers)"
        assert found.facts.route == "fim"
