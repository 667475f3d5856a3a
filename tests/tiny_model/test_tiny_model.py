"""The shipped checkpoint: its files, its language, and that it learnt what tests rely on."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
import torch

from tests.reference import modes, network
from tests.tiny_model import CHECKPOINT, corruption, language, measure
from tests.tiny_model.build_tokenizer import MASK_TOKEN_ID, build_tokenizer
from tests.tiny_model.model import CONFIG, DualStreamModel


@pytest.fixture(autouse=True)
def _no_gradients() -> Any:
    with torch.inference_mode():
        yield


@pytest.fixture(scope="module")
def tiny() -> modes.Model:
    return measure.load_model()


@pytest.fixture(scope="module")
def trained() -> DualStreamModel:
    """The training-time model with the shipped weights."""
    from safetensors.torch import load_file

    model = DualStreamModel()
    state = load_file(CHECKPOINT / "model.safetensors")
    model.load_state_dict({name: tensor.float() for name, tensor in state.items()}, strict=True)
    return model


def test_folder_is_small_and_complete() -> None:
    files = [path for path in CHECKPOINT.rglob("*") if path.is_file()]
    assert {str(path.relative_to(CHECKPOINT)) for path in files} == {
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
        "linear_spec_lora/adapter_config.json",
        "linear_spec_lora/adapter_model.safetensors",
    }
    assert sum(path.stat().st_size for path in files) <= 4 * 2**20
    assert json.loads((CHECKPOINT / "config.json").read_text()) == CONFIG


def test_tokenizer_has_the_low_id_layout(tmp_path: Any) -> None:
    tokenizer = language.tokenizer()
    named = {0: "<unk>", 1: "<s>", 2: "</s>", 10: "<|im_start|>", 11: "<|im_end|>"}
    for index, text in {**named, 100: "<SPECIAL_100>", 109: "<SPECIAL_109>"}.items():
        assert tokenizer.token_to_id(text) == index
        assert language.encode(text) == [index]
    assert tokenizer.get_vocab_size() == CONFIG["vocab_size"]
    assert build_tokenizer(tmp_path).to_str() == tokenizer.to_str()


@pytest.mark.parametrize("text", ["x = 1\n", "\tif  a:\r\n\r\n  é😀", "", "   ", "\x00\x7f"])
def test_tokenizer_keeps_any_text(text: str) -> None:
    assert language.tokenizer().decode(language.encode(text)) == text


def test_training_and_held_out_pairs_never_meet() -> None:
    def pairs(held_out: bool) -> set[str]:
        docs = itertools.islice(language.documents(5, held_out=held_out), 400)
        heads = [line for doc in docs for line in doc.text.splitlines() if line.startswith("def ")]
        return {head.split("(")[0] for head in heads}

    known, unseen = pairs(False), pairs(True)
    assert not known & unseen
    assert len(unseen) > 50


def test_documents_are_reproducible_and_of_moderate_length() -> None:
    first = list(itertools.islice(language.documents(6, held_out=True), 50))
    assert first == list(itertools.islice(language.documents(6, held_out=True), 50))
    lengths = [len(language.encode(doc.text)) for doc in first]
    assert 90 <= min(lengths) <= max(lengths) <= 250


def test_holes_are_what_they_say() -> None:
    holes = language.holes(7, 300)
    for hole in holes:
        prefix, middle = language.encode(hole.prefix), language.encode(hole.middle)
        suffix = language.encode(hole.suffix)
        joined = language.encode(hole.prefix + hole.middle + hole.suffix)
        assert ([*prefix, *middle, *suffix] == joined) == (hole.cut == "token")
        assert len(middle) == hole.num_middle_tokens
        assert len(suffix) >= language.MIN_SUFFIX_TOKENS
    at_edges = [hole for hole in holes if hole.cut == "token"]
    assert {hole.num_middle_tokens for hole in at_edges} == set(range(1, 21))
    assert 30 <= sum(hole.by_suffix for hole in holes) <= 100
    assert 30 <= sum(hole.cut == "word" for hole in holes) <= 100


def test_clean_half_is_a_plain_causal_pass(tiny: modes.Model, trained: DualStreamModel) -> None:
    """Training code and reference are written apart, so this also compares the two networks."""
    batch = next(corruption.batches(8, num_rows=2, num_tokens=96, drafts=False))
    positions = batch.positions.repeat(1, 2)
    tokens = torch.cat((batch.noisy, batch.clean), 1)
    logits = trained(tokens, positions, corruption.noisy_mask(batch.blocks))
    for row in range(2):
        expected = network.forward(
            tiny.network, batch.clean[row], batch.positions[row], modes.causal_view(96)
        )
        torch.testing.assert_close(logits[row, 96:], expected, atol=1e-3, rtol=1e-3)


def test_noisy_half_is_a_block_behind_a_causal_context(
    tiny: modes.Model, trained: DualStreamModel
) -> None:
    batch = next(corruption.batches(9, num_rows=1, num_tokens=96, drafts=False))
    near = torch.arange(96)[None].repeat(1, 2)
    tokens = torch.cat((batch.noisy, batch.clean), 1)
    logits = trained(tokens, near, corruption.noisy_mask(batch.blocks))[0]
    for block in range(1, int(batch.blocks.max()) + 1):
        inside = (batch.blocks[0] == block).nonzero().flatten().tolist()
        context = batch.clean[0, : inside[0]].tolist()
        noisy = batch.noisy[0, inside].tolist()
        expected = modes.block_logits(tiny, context, noisy, (), adapter=False)
        torch.testing.assert_close(logits[inside], expected, atol=1e-3, rtol=1e-3)


def test_masked_slots_carry_the_inverse_rate() -> None:
    batch = next(corruption.batches(10, num_rows=8, num_tokens=192, drafts=False))
    masked = batch.noisy == MASK_TOKEN_ID
    assert torch.equal(masked, batch.weights > 0)
    assert torch.equal(batch.clean[~masked], batch.noisy[~masked])
    assert batch.weights.max() <= 1 / corruption.MIN_MASK_RATE + 1e-6
    drafts = next(corruption.batches(10, num_rows=8, num_tokens=192, drafts=True))
    assert torch.equal(drafts.seeds, drafts.noisy != MASK_TOKEN_ID)


def test_causal_accuracy_on_held_out_text(tiny: modes.Model) -> None:
    assert measure.determined_accuracy(tiny, 60) >= 0.99


def test_greedy_continuations_are_exact(tiny: modes.Model) -> None:
    cases = language.continuations(31, 40)
    assert sum(measure.is_continued(tiny, case) for case in cases) >= 0.95 * len(cases)
    assert any(case.is_end for case in cases)


@pytest.mark.parametrize(("mode", "block_size"), [("linear", 16), ("quad", 8)])
def test_drafts_are_accepted(tiny: modes.Model, mode: str, block_size: int) -> None:
    """Off-by-one drafts keep a mode lossless but let its acceptance fall to one token a cycle."""
    decode = modes.linear_spec if mode == "linear" else modes.quad_spec
    outs = [
        decode(tiny, language.encode(case.prompt), 48, block_size=block_size)
        for case in language.continuations(32, 20)
    ]
    cycles = [num for out in outs for num in out.emitted_per_cycle]
    assert sum(cycles) / len(cycles) >= 4


def test_adapter_drafts_better_than_the_bare_model(tiny: modes.Model) -> None:
    bare = modes.Model(network.Network(tiny.network.config, tiny.network.weights))

    def num_forwards(model: modes.Model) -> int:
        prompts = [language.encode(case.prompt) for case in language.continuations(35, 60)]
        outs = [modes.linear_spec(model, prompt, 48, block_size=32) for prompt in prompts]
        return sum(out.num_forwards for out in outs)

    assert num_forwards(tiny) < num_forwards(bare)


def test_holes_are_filled_exactly_in_fewer_passes_than_tokens(tiny: modes.Model) -> None:
    holes = [hole for hole in language.holes(33, 80) if hole.cut == "token"]
    filled = [measure.is_filled(tiny, hole) for hole in holes]
    assert sum(is_exact for is_exact, _ in filled) >= 0.9 * len(holes)
    assert any(hole.by_suffix and ok for hole, (ok, _) in zip(holes, filled, strict=True))
    assert sum(num for _, num in filled) < sum(hole.num_middle_tokens for hole in holes)


def test_causal_likelihood_finds_the_length(tiny: modes.Model) -> None:
    holes = [hole for hole in language.holes(34, 16) if hole.cut == "token"]
    best = [measure.ranked_lengths(tiny, hole, range(1, 25))[0][1] for hole in holes]
    exact = sum(got == language.encode(h.middle) for got, h in zip(best, holes, strict=True))
    assert exact >= 0.8 * len(holes)
