"""Decoder.forward_many and batched passes against their slow twin, one forward after the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.decoding.batch import run_passes
from engine.decoding.forward import Forward, Kind, Output, prefill, row, run_forward
from engine.decoding.loop import Limits, Meter, Pass, can_join, run_steps
from engine.kv_cache import KVCache
from engine.models.decoder import Decoder
from tests.models import checkpoints

TOLERANCE = {"atol": 2e-4, "rtol": 1e-4}


@pytest.fixture(scope="module")
def adapted(tmp_path_factory: pytest.TempPathFactory) -> Decoder:
    """Its adapter acts on masks only."""
    folder = checkpoints.write_qwen(tmp_path_factory.mktemp("adapted"))
    checkpoints.write_diffusion_adapter(folder / "diffusion_adapter")
    return checkpoints.load(folder)


@pytest.fixture(scope="module")
def nemotron() -> Decoder:
    """Its adapter acts on whole blocks."""
    return checkpoints.load(checkpoints.TINY)


@pytest.fixture(params=["adapted", "nemotron"])
def decoder(request: pytest.FixtureRequest) -> Decoder:
    found: Decoder = request.getfixturevalue(request.param)
    return found


def tokens(num: int, seed: int) -> list[int]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(110, 500, (num,), generator=generator).tolist()


def filled(decoder: Decoder, num_tokens: int, seed: int) -> KVCache:
    cache = decoder.new_cache()
    if num_tokens:
        steps = prefill(tokens(num_tokens, seed), cache, 64)
        run_steps(steps, decoder, cache, Meter(), Limits())
    return cache


def forward_of(kind: Kind, num_tokens: int, seed: int, decoder: Decoder) -> Forward:
    """What the modes ask for, in kind: causal rows, a block with masks, a shared pass."""
    ids = tokens(num_tokens, seed)
    if kind in ("draft", "denoise"):
        ids[1:] = [decoder.config.mask_token_id] * (num_tokens - 1)
        return Forward(kind, row(ids, decoder.device), "full", draft_adapter=kind == "draft")
    if kind == "verify" and num_tokens > 2:
        # A visible token, and one mask behind each of two.
        ids[2:] = [decoder.config.mask_token_id] * (num_tokens - 2)
        view = torch.ones(num_tokens, num_tokens, dtype=torch.bool).tril()
        offsets = torch.tensor([0, 1, *[2] * (num_tokens - 2)])
        return Forward(kind, row(ids, decoder.device), view, offsets, draft_adapter=True)
    return Forward(kind, row(ids, decoder.device), "causal")


def alone(passes: Sequence[Pass], decoder: Decoder) -> list[Output]:
    return [run_forward(forward, decoder, cache) for forward, cache in passes]


KINDS: list[Kind] = ["ar", "verify", "draft", "denoise", "commit"]
PARTS = st.lists(
    st.tuples(st.sampled_from(KINDS), st.integers(0, 90), st.integers(1, 9)), min_size=2, max_size=5
)


@settings(max_examples=40)
@given(parts=PARTS, which=st.sampled_from(["adapted", "nemotron"]))
def test_a_shared_pass_is_what_each_would_have_got(
    decoders: dict[str, Decoder], parts: list[tuple[Kind, int, int]], which: str
) -> None:
    decoder = decoders[which]
    ones, others = [
        [
            Pass(forward_of(kind, 1 if kind == "ar" else length, at, decoder), cache)
            for at, ((kind, _, length), cache) in enumerate(zip(parts, caches, strict=True))
        ]
        for caches in [
            [filled(decoder, num_cached, at) for at, (_, num_cached, _) in enumerate(parts)]
            for _ in range(2)
        ]
    ]
    with torch.inference_mode():
        expected, found = alone(ones, decoder), run_passes(others, decoder)
        for want, got, one, other in zip(expected, found, ones, others, strict=True):
            torch.testing.assert_close(got.hidden, want.hidden, **TOLERANCE)
            want_logits, got_logits = want.logits(slice(None)), got.logits(slice(None))
            torch.testing.assert_close(got_logits, want_logits, **TOLERANCE)
            assert torch.equal(got_logits.argmax(-1), want_logits.argmax(-1))
            assert torch.equal(got.logits([0]), got_logits[:1])
            assert_same_scratch(one, other)


@pytest.fixture(scope="module")
def decoders(adapted: Decoder, nemotron: Decoder) -> dict[str, Decoder]:
    return {"adapted": adapted, "nemotron": nemotron}


def assert_same_scratch(one: Pass, other: Pass) -> None:
    """The keys and values that the next commit would take over."""
    num_new = one.forward.ids.shape[1]
    for cache in (one.cache, other.cache):
        cache.commit([0] * num_new)
    for layer in range(2):
        for want, got in zip(one.cache.committed(layer), other.cache.committed(layer), strict=True):
            torch.testing.assert_close(got, want, **TOLERANCE)


def test_logits_are_the_callers_own(decoder: Decoder) -> None:
    """Modes write into what they get; the next look must not see that."""
    caches = [filled(decoder, 20, seed) for seed in range(2)]
    passes = [Pass(forward_of("verify", 4, 7, decoder), cache) for cache in caches]
    with torch.inference_mode():
        output = run_passes(passes, decoder)[0]
        before = output.logits(slice(None)).clone()
        output.logits(slice(None)).fill_(1.0)
        output.logits([1, 2]).fill_(2.0)
        assert torch.equal(output.logits(slice(None)), before)


def test_what_may_not_join(decoder: Decoder) -> None:
    causal = forward_of("ar", 1, 0, decoder)
    assert can_join(causal)
    assert not can_join(replace(causal, kind="prefill"))
    assert not can_join(replace(causal, ids=causal.ids.expand(2, 1)))


def test_two_forwards_over_one_cache_are_refused(decoder: Decoder) -> None:
    """They would write over each other's keys."""
    cache = filled(decoder, 10, 0)
    passes = [Pass(forward_of("ar", 1, seed, decoder), cache) for seed in range(2)]
    with torch.inference_mode(), pytest.raises(AssertionError):
        run_passes(passes, decoder)


@pytest.mark.slow
def test_the_default_model_chooses_the_same_in_a_shared_pass(default_model: Path) -> None:
    """In fp32, over prompts of different lengths."""
    decoder = checkpoints.load(default_model)
    ids = [tokens(num, seed) for seed, num in enumerate((9, 40, 130))]
    caches = []
    for prompt in ids:
        cache = decoder.new_cache()
        run_steps(prefill(prompt, cache, 64), decoder, cache, Meter(), Limits())
        caches.append(cache)
    passes = [
        Pass(Forward("ar", row([prompt[0]], decoder.device), "causal"), cache)
        for prompt, cache in zip(ids, caches, strict=True)
    ]
    with torch.inference_mode():
        expected = [output.logits([0]) for output in alone(passes, decoder)]
        found = [output.logits([0]) for output in run_passes(passes, decoder)]
    for want, got in zip(expected, found, strict=True):
        torch.testing.assert_close(got, want, atol=5e-3, rtol=1e-3)
        assert torch.equal(got.argmax(-1), want.argmax(-1))
