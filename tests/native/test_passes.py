"""A whole pass in the native kernels against its twin, torch's operations over the same int8
layers; and what it promises on top: rows that do not depend on each other."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from engine.decoding.blocks import block_view
from engine.decoding.forward import Forward, row, run_forward
from engine.kv_cache import KVCache
from engine.models.attention import causal_mask
from engine.models.decoder import Decoder, Segment
from tests.decoding.harness import decode
from tests.native.models import MASK, load, load_decoder, write_adapter, write_model

TOLERANCE = {"atol": 2e-3, "rtol": 1e-3}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_model(tmp_path_factory.mktemp("model"))
    write_adapter(folder / "diffusion_adapter", folder)
    return folder


@pytest.fixture(scope="module")
def decoder(built: None, folder: Path) -> Decoder:
    decoder = load_decoder(folder)
    assert decoder.native is not None and decoder.has_draft_adapter
    return decoder


@contextmanager
def as_twin(decoder: Decoder) -> Iterator[None]:
    native, decoder.native = decoder.native, None
    try:
        yield
    finally:
        decoder.native = native


def tokens(num: int, seed: int = 0) -> list[int]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(110, 600, (num,), generator=generator).tolist()


def prefilled(decoder: Decoder, ids: list[int]) -> KVCache:
    cache = decoder.new_cache()
    run_forward(Forward("prefill", row(ids, decoder.device), "causal"), decoder, cache)
    cache.commit(ids)
    return cache


def logits(decoder: Decoder, prompt: list[int], forward: Forward) -> torch.Tensor:
    return run_forward(forward, decoder, prefilled(decoder, prompt)).logits(slice(None))


def test_layers_are_int8_and_close_to_full_ones(decoder: Decoder, folder: Path) -> None:
    assert decoder.weights == "int8"
    full = load_decoder(folder, weights="full")
    assert full.weights == "float32" and full.native is None
    forward = Forward("verify", row(tokens(20, 1), decoder.device), "causal")
    found, expected = (logits(each, tokens(80), forward) for each in (decoder, full))
    assert not torch.equal(found, expected)
    assert float((found - expected).std() / expected.std()) < 0.03


def test_causal_pass_is_that_of_the_twin(decoder: Decoder) -> None:
    forward = Forward("verify", row(tokens(20, 1), decoder.device), "causal")
    found = logits(decoder, tokens(80), forward)
    with as_twin(decoder):
        torch.testing.assert_close(found, logits(decoder, tokens(80), forward), **TOLERANCE)


@pytest.mark.parametrize("block", [[200, MASK, MASK, MASK], [200, MASK, 201, MASK, MASK, 202]])
@pytest.mark.parametrize("draft_adapter", [False, True])
def test_drafts_are_those_of_the_twin(
    decoder: Decoder, block: list[int], draft_adapter: bool
) -> None:
    """Masks in one run and scattered; with and without the adapter on their rows."""
    ids = row(block, decoder.device)
    view, offsets = block_view(ids[0], decoder.config), torch.arange(len(block)) * 2
    forward = Forward("draft", ids, view, offsets=offsets, draft_adapter=draft_adapter)
    found = logits(decoder, tokens(70), forward)
    with as_twin(decoder):
        torch.testing.assert_close(found, logits(decoder, tokens(70), forward), **TOLERANCE)


def test_the_adapter_changes_masks_and_nothing_else(decoder: Decoder) -> None:
    ids = row([200, MASK, 201, MASK], decoder.device)
    view = block_view(ids[0], decoder.config)
    on, off = (
        logits(decoder, tokens(30), Forward("draft", ids, view, draft_adapter=choice))
        for choice in (True, False)
    )
    assert torch.equal(on[[0, 2]], off[[0, 2]])
    assert not torch.allclose(on[[1, 3]], off[[1, 3]], atol=1e-2)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_verified_token_gets_the_logits_that_it_gets_alone(folder: Path, dtype: str) -> None:
    decoder = load_decoder(folder, dtype=dtype)
    prompt, block = tokens(60), tokens(13, 1)
    together = logits(decoder, prompt, Forward("verify", row(block, decoder.device), "causal"))
    cache = prefilled(decoder, prompt)
    for i, token in enumerate(block):
        alone = run_forward(Forward("ar", row([token], decoder.device), "causal"), decoder, cache)
        assert torch.equal(alone.logits(slice(None))[0], together[i])
        cache.commit([token])


@pytest.mark.parametrize("mode", ["linear_spec", "quad_spec"])
@pytest.mark.parametrize("seed", range(4))
def test_speculation_decodes_what_ar_does(decoder: Decoder, mode: str, seed: int) -> None:
    prompt = tokens(40, seed)
    expected = decode(decoder, prompt, "ar", max_tokens=30)
    assert decode(decoder, prompt, mode, max_tokens=30).tokens == expected.tokens


def test_several_sequences_in_one_pass(decoder: Decoder) -> None:
    prompts, blocks = [tokens(30, 1), tokens(75, 2)], [tokens(6, 3), [210, MASK, MASK]]

    def segment(number: int) -> Segment:
        ids = row(blocks[number], decoder.device)
        visible = causal_mask(ids.shape[1], decoder.device)
        return Segment(ids, prefilled(decoder, prompts[number]), visible, draft_adapter=number == 1)

    together = decoder.forward_many([segment(0), segment(1)])
    for number, found in enumerate(together):
        assert torch.equal(found, decoder.forward_many([segment(number)])[0])


def test_rows_that_share_a_prefix_are_those_of_single_passes(decoder: Decoder) -> None:
    """Candidates that are ranked go through the twin."""
    ids = torch.tensor([tokens(5, 1), tokens(5, 2)])
    ranked = run_forward(Forward("rank", ids, "causal"), decoder, prefilled(decoder, tokens(40)))
    for number in range(2):
        forward = Forward("verify", ids[number : number + 1], "causal")
        expected = logits(decoder, tokens(40), forward)
        torch.testing.assert_close(ranked.logits(slice(None), of=number), expected, **TOLERANCE)


def test_a_layer_that_does_not_fit_stays_with_torch(built: None, tmp_path: Path) -> None:
    folder = write_model(tmp_path, intermediate_size=160)
    loaded = load(folder)
    layer = loaded.decoder.layers[0]
    assert layer.down.int8 is None and layer.qkv.int8 is not None
    assert loaded.decoder.native is None
    forward = Forward("verify", row(tokens(9), loaded.decoder.device), "causal")
    found = logits(loaded.decoder, tokens(20), forward)
    expected = logits(load_decoder(folder, weights="full"), tokens(20), forward)
    assert float((found - expected).std() / expected.std()) < 0.03
