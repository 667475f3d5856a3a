"""A static pass against `Decoder.forward`, its slow twin."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from engine.decoding.forward import Forward, run_forward
from engine.graphs.inputs import PassInputs
from engine.kv_cache import KVCache
from engine.models.decoder import Decoder
from tests.graphs.conftest import way
from tests.graphs.harness import (
    VIEWS,
    assert_same_pass,
    filled,
    plain_decoder,
    runner_of,
    tokens,
)

GPU = pytest.param("cuda", marks=pytest.mark.gpu)


@pytest.mark.parametrize("name", ["twins", GPU])
@pytest.mark.parametrize("view", list(VIEWS))
@pytest.mark.parametrize("R", [1, 2, 4])
def test_a_static_pass_is_a_forward(folder: Path, name: str, view: str, R: int) -> None:
    """Lengths off and on the buckets, and an empty cache among them."""
    how = way(name)
    decoder = plain_decoder(folder, how.device, "float32")
    runner = runner_of(decoder, how.ops, how.backend)
    for T, num_cached in ((2, 0), (8, 1), (11, 37), (16, 300), (33, 513), (64, 5)):
        forward = VIEWS[view](decoder, R, T)
        # The buckets are powers of two: 11 tokens are done as 16, and 33 as 64.
        if R * {11: 16, 33: 64}.get(T, T) > 64:
            assert runner.run(forward, filled(decoder, num_cached)) is None
        else:
            assert_same_pass(forward, num_cached, decoder, runner)
    assert runner.problem is None


@pytest.mark.parametrize("T", [1, 5, 32])
def test_one_token_is_a_pass_of_one_token(decoder: Decoder, T: int) -> None:
    how = way("twins")
    runner = runner_of(decoder, how.ops, how.backend)
    for num_cached in (0, 1, 511, 512, 1030):
        assert_same_pass(VIEWS["causal"](decoder, 1, T), num_cached, decoder, runner)


@pytest.mark.parametrize(("R", "view"), [(1, "causal"), (1, "block"), (3, "rows"), (1, "shared")])
def test_kernels_are_their_twins(folder: Path, R: int, view: str) -> None:
    """All of them together, interpreted."""
    how = way("interpreter")
    decoder = plain_decoder(folder, how.device, "float32")
    runner = runner_of(decoder, how.ops, how.backend)
    assert_same_pass(VIEWS[view](decoder, R, 5), 70, decoder, runner)


@pytest.mark.parametrize("draft_adapter", [False, True])
def test_kernels_with_and_without_the_adapter(folder: Path, draft_adapter: bool) -> None:
    how = way("interpreter")
    decoder = plain_decoder(folder, how.device, "float32")
    runner = runner_of(decoder, how.ops, how.backend)
    ids = torch.tensor([[150, *[decoder.config.mask_token_id] * 3]])
    forward = Forward("draft", ids, "full", draft_adapter=draft_adapter)
    assert_same_pass(forward, 3, decoder, runner)


def test_kernels_find_the_cache_by_its_address(
    decoder: Decoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a graph, which knows of the cache only what the inputs say."""
    how = way("interpreter")
    runner = runner_of(decoder, how.ops, how.backend)
    fill = PassInputs.fill

    def without_the_cache(inputs: PassInputs, forward: Forward, cache: KVCache) -> None:
        fill(inputs, forward, cache)
        inputs.cache.cache = None

    monkeypatch.setattr(PassInputs, "fill", without_the_cache)
    assert_same_pass(VIEWS["causal"](decoder, 1, 3), 9, decoder, runner)
    # Another cache, in the same pass.
    assert_same_pass(VIEWS["causal"](decoder, 1, 2), 513, decoder, runner)
    assert (runner.num_captured, runner.num_replayed) == (1, 2)


def test_the_adapter_changes_drafts_and_never_what_is_verified(decoder: Decoder) -> None:
    how = way("twins")
    runner = runner_of(decoder, how.ops, how.backend)

    def logits(ids: list[int], view: str, draft_adapter: bool) -> torch.Tensor:
        forward = Forward("draft", torch.tensor([ids]), view, draft_adapter=draft_adapter)  # type: ignore[arg-type]
        found = runner.run(forward, filled(decoder, 20))
        assert found is not None
        return found.logits(slice(None))

    block = [150, *[decoder.config.mask_token_id] * 6]
    drafts = [logits(block, "full", on) for on in (False, True, False)]
    assert not torch.allclose(drafts[0][1:], drafts[1][1:], atol=1e-3)
    torch.testing.assert_close(drafts[0], drafts[2], atol=0, rtol=0)
    verified = logits(tokens(7, 1), "causal", False)
    before = runner.num_captured
    if decoder.config.adapter_scope == "masks":
        # No mask, no adapter: visible tokens are exactly the base model's.
        again = logits(tokens(7, 1), "causal", True)
        torch.testing.assert_close(again, verified, atol=0, rtol=0)
    torch.testing.assert_close(logits(tokens(7, 1), "causal", False), verified, atol=0, rtol=0)
    assert runner.num_captured == before


def test_positions_beyond_the_original_context_scale_the_queries() -> None:
    """The tiny model's is 128 tokens: the factor differs on both sides of it."""
    from tests.models import checkpoints

    decoder = plain_decoder(checkpoints.TINY, torch.device("cpu"), "float32")
    how = way("twins")
    runner = runner_of(decoder, how.ops, how.backend)
    for num_cached in (100, 125, 127, 128, 400):
        assert_same_pass(VIEWS["causal"](decoder, 1, 6), num_cached, decoder, runner)


def test_padding_is_never_seen(decoder: Decoder) -> None:
    """What a wider pass left behind the tokens does not matter to the next one."""
    how = way("twins")
    runner = runner_of(decoder, how.ops, how.backend)
    cache = filled(decoder, 30)
    assert runner.run(VIEWS["causal"](decoder, 1, 60), cache) is not None
    forward = VIEWS["causal"](decoder, 1, 3)
    found = runner.run(forward, cache)
    assert found is not None
    expected = run_forward(forward, decoder, filled(decoder, 30))
    torch.testing.assert_close(found.hidden, expected.hidden, atol=2e-5, rtol=2e-5)


@pytest.mark.gpu
def test_a_graph_is_its_eager_self_bit_for_bit(folder: Path) -> None:
    from engine.graphs.backends import EagerBackend

    how = way("cuda")
    decoder = plain_decoder(folder, how.device, "bfloat16")
    runners = [
        runner_of(decoder, how.ops, backend) for backend in (how.backend, EagerBackend(how.device))
    ]
    for name in VIEWS:
        for R, T, num_cached in ((1, 7, 3), (1, 32, 700), (2, 13, 90)):
            forward = VIEWS[name](decoder, R, T)
            caches = [filled(decoder, num_cached), filled(decoder, num_cached)]
            # Twice: a graph's first use is its capture.
            for _ in range(2):
                found = [r.run(forward, c) for r, c in zip(runners, caches, strict=True)]
                one, two = (each.hidden.clone() for each in found if each is not None)
                assert torch.equal(one, two)
                logits = [each.logits(slice(None)) for each in found if each is not None]
                assert torch.equal(*logits)
    assert all(runner.problem is None for runner in runners)
