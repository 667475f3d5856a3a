"""Full conversion: the joint loss against an independent network, and the way to the engine."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from engine.config import EngineConfig
from engine.engine import Engine
from engine.training.full import FullConversion
from engine.training.full_noise import FullOptions, Noised, add_noise
from engine.training.network import Network
from engine.training.noise import IGNORED
from tests.decoding.harness import decode
from tests.tiny_model import CHECKPOINT, corruption, language, train
from tests.tiny_model.model import DualStreamModel
from tests.training.networks import (
    MASK,
    TOLERANCE,
    Tokens,
    causal_logits,
    filled_cache,
    load_decoder,
    load_network,
    some_tokens,
)


def texts(num: int, *, seed: int = 3, held_out: bool = False) -> list[list[int]]:
    documents = language.documents(seed, held_out=held_out)
    return [[*language.encode(next(documents).text), language.END_TOKEN_ID] for _ in range(num)]


def conversion(
    network: Network,
    folder: Path,
    sequences: list[list[int]],
    *,
    max_rows: int = 4096,
    held_out: list[list[int]] | None = None,
    **options: Any,
) -> FullConversion:
    return FullConversion(
        network,
        Tokens(sequences),
        sequences[:2] if held_out is None else held_out,
        FullOptions(**options),
        tokenizer_folder=folder,
        sequences_per_step=len(sequences),
        seed=0,
        max_rows=max_rows,
    )


def flat(noised: Noised) -> tuple[list[int], list[float], list[int]]:
    """noisy tokens, weights (0 = not masked), and number of its block, of each position; a block
    without masks has no rows and is shown as it is."""
    noisy, weights = list(noised.tokens), [0.0] * len(noised.tokens)
    numbers = [-1] * len(noised.tokens)
    for number, block in enumerate(noised.blocks):
        for at, token, target, weight in zip(
            block.positions, block.ids, block.targets, block.weights, strict=True
        ):
            noisy[at], numbers[at] = token, number
            weights[at] = 0.0 if target == IGNORED else weight
    return noisy, weights, numbers


@pytest.mark.parametrize("random_offsets", [False, True])
def test_noise_covers_a_sequence(random_offsets: bool) -> None:
    network = load_network(CHECKPOINT)
    options = FullOptions(random_offsets=random_offsets)
    rng, size = random.Random(1), network.config.block_size
    tokens = some_tokens(150)
    first_ends, ratios = set(), []
    for _ in range(60):
        noised = add_noise(tokens, network.config, options, rng)
        for block in noised.blocks:
            start = block.positions[0]
            assert block.context == start
            assert block.positions == list(range(start, start + len(block.ids)))
            assert MASK in block.ids and len(block.ids) <= size
            end = block.positions[-1] + 1
            if start > 0 and end < len(tokens):
                assert len(block.ids) == size
                first_ends.add(start % size)
            for at, token, target in zip(block.positions, block.ids, block.targets, strict=True):
                assert (token, target) == (
                    (MASK, tokens[at]) if token == MASK else (tokens[at], IGNORED)
                )
        if not noised.blocks:
            continue
        (weight,) = {each for block in noised.blocks for each in block.weights}
        assert 1.0 <= weight <= 20.0, "1 / p, clipped at 0.05"
        ratios.append((1 / weight, noised.num_masks / len(tokens)))
    assert first_ends == {0} if not random_offsets else len(first_ends) > 10
    for meant, found in ratios:
        assert abs(meant - found) < 0.15
    assert max(meant for meant, _ in ratios) > 0.85 and min(found for _, found in ratios) < 0.15


def test_draft_blocks_show_their_seed_alone() -> None:
    network = load_network(CHECKPOINT)
    noised = add_noise(
        some_tokens(100), network.config, FullOptions(draft_share=1.0), random.Random(2)
    )
    for block in noised.blocks:
        assert [token == MASK for token in block.ids] == [False] + [True] * (len(block.ids) - 1)
        assert set(block.weights) == {1.0}


def twin_batch(batch: list[Noised]) -> corruption.Batch:
    """The same batch for `tests.tiny_model.train`."""
    noisy, weights, blocks = zip(*(flat(each) for each in batch), strict=True)
    clean = torch.tensor([each.tokens for each in batch])
    positions = torch.arange(clean.shape[1]).expand_as(clean)
    numbers = torch.tensor(blocks)
    return corruption.Batch(
        clean, torch.tensor(noisy), torch.tensor(weights), positions, numbers, numbers
    )


def test_joint_loss_and_gradients_equal_those_of_the_tiny_models_own_network(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """`tests.tiny_model.train` shares nothing with the engine: another network, another mask,
    another loss. Two sequences with noise of their own, all blocks with masks."""
    sequences = [each[:90] for each in texts(2)]
    task = conversion(load_network(CHECKPOINT), CHECKPOINT, sequences, alpha=0.4, block_size=8)
    rng, batch = random.Random(7), []
    while len(batch) < 2:
        noised = add_noise(
            sequences[len(batch)],
            task._network.config,
            FullOptions(draft_share=0.2),
            rng,
        )
        if -1 not in flat(noised)[2]:
            batch.append(noised)
    model = DualStreamModel()
    state = load_file(CHECKPOINT / "model.safetensors")
    model.load_state_dict({name: tensor.float() for name, tensor in state.items()})

    def fp32_logits(
        model: DualStreamModel, batch: corruption.Batch
    ) -> tuple[torch.Tensor, torch.Tensor]:
        tokens = torch.cat((batch.noisy, batch.clean), 1)
        positions = torch.cat((batch.positions, batch.positions), 1)
        noisy, clean = model(tokens, positions, corruption.noisy_mask(batch.blocks)).chunk(2, 1)
        return noisy, clean

    monkeypatch.setattr(train, "dual_logits", fp32_logits)
    monkeypatch.setattr(train, "ALPHA", 0.4)
    expected, ar_loss, mask_loss = train.joint_loss(model, twin_batch(batch))
    expected.backward()
    expected = expected.detach()
    metrics = task.accumulate_batch(batch)
    assert metrics["loss"] == pytest.approx(float(expected), rel=1e-5)
    assert metrics["ar_loss"] == pytest.approx(ar_loss, rel=1e-5)
    assert metrics["mask_loss"] == pytest.approx(mask_loss, rel=1e-5)
    compare_gradients(task, model)


def compare_gradients(task: FullConversion, model: DualStreamModel) -> None:
    theirs = {
        name.removeprefix("encoder.").replace("diffusion_head", "lm_head"): weight.grad
        for name, weight in model.named_parameters()
    }
    mine = {name: leaf.grad for name, leaf in task.parameters()}
    for name, tensor in theirs.items():
        assert tensor is not None
        close = {"atol": 1e-6, "rtol": 1e-3}
        if name == "embed_tokens.weight":
            # The mask's row is a leaf of its own here.
            torch.testing.assert_close(mine["mask_embedding"], tensor[MASK], **close)
            tensor = tensor.clone()
            tensor[MASK] = 0.0
        torch.testing.assert_close(canonical_gradient(task, name), tensor, **close)


def canonical_gradient(task: FullConversion, name: str) -> torch.Tensor:
    """The gradient of a tensor of the checkpoint, out of the fused leaf it is a part of."""
    saved = {leaf_name: leaf.detach().clone() for leaf_name, leaf in task.parameters()}
    with torch.no_grad():
        for _, leaf in task.parameters():
            assert leaf.grad is not None
            leaf.copy_(leaf.grad)
        found = task.leaves.canonical()[name].detach().clone()
        for leaf_name, leaf in task.parameters():
            leaf.copy_(saved[leaf_name])
    return found


def test_passes_of_any_size_add_up_to_the_same_step() -> None:
    """Global loss averaging: the division does not depend on what fits into one pass."""
    sequences = texts(3)
    whole, split = (
        conversion(load_network(CHECKPOINT), CHECKPOINT, sequences, max_rows=rows)
        for rows in (10_000, 1)
    )
    mine, theirs = whole.accumulate(), split.accumulate()
    assert mine == pytest.approx(theirs, rel=1e-4)
    for (name, one), (_, other) in zip(whole.parameters(), split.parameters(), strict=True):
        assert one.grad is not None and bool(one.grad.any()), name
        torch.testing.assert_close(one.grad, other.grad, atol=1e-6, rtol=1e-3)


@pytest.mark.parametrize("family", ["nemotron", "qwen2"])
def test_exported_checkpoint_is_the_trained_network(
    family: str, qwen_folder: Path, tmp_path: Path
) -> None:
    """After a few steps with both families' heads, biases and masks: loss down, and the engine
    computes from the folder what the leaves compute."""
    source = CHECKPOINT if family == "nemotron" else qwen_folder
    network = load_network(source)
    sequences = [each[:60] for each in texts(3)] if family == "nemotron" else [some_tokens(40)]
    task = conversion(network, source, sequences, block_size=8, draft_share=0.5)
    optimizer = torch.optim.AdamW([leaf for _, leaf in task.parameters()], lr=3e-3)
    before = task.evaluate()["held_out_loss"]
    for _ in range(6):
        optimizer.zero_grad()
        task.accumulate()
        optimizer.step()
    assert task.evaluate()["held_out_loss"] < before
    task.export(tmp_path)
    decoder = load_decoder(tmp_path)
    assert (decoder.config.alignment, decoder.config.adapter_scope) == ("same_position", "block")
    assert decoder.config.block_size == 8
    with torch.no_grad():
        for _, leaf in task.parameters():
            leaf.copy_(leaf.bfloat16())
    tokens = sequences[0]
    (mine,) = causal_logits(network, [tokens])
    torch.testing.assert_close(mine, filled_cache(decoder, tokens)[1], **TOLERANCE)
    torch.testing.assert_close(
        task.leaves.mask_embedding.detach(), decoder.mask_embedding, atol=0, rtol=0
    )
    assert network.head is network.embedding or family == "nemotron", "a tied head stays tied"


def test_a_converted_model_still_drafts(tmp_path: Path) -> None:
    """The tiny model trained on for a few steps, exported, and run by the engine: more than one
    accepted draft per cycle, and what `ar` would have written."""
    task = conversion(
        load_network(CHECKPOINT),
        CHECKPOINT,
        texts(2),
        held_out=texts(2, seed=5, held_out=True),
        block_size=16,
        draft_share=0.5,
    )
    optimizer = torch.optim.AdamW([leaf for _, leaf in task.parameters()], lr=1e-4)
    for _ in range(3):
        optimizer.zero_grad()
        task.accumulate()
        optimizer.step()
    figures = task.evaluate()
    assert figures["accepted_drafts"] > 4
    assert figures["tokens_per_cycle"] == figures["accepted_drafts"] + 1
    assert figures["held_out_token_accuracy"] > 0.9 and figures["held_out_mask_accuracy"] > 0.7
    task.export(tmp_path)
    engine = Engine.load(
        EngineConfig(model=str(tmp_path), device="cpu", dtype="float32", num_threads=1)
    )
    num_tokens = num_forwards = 0
    for case in language.continuations(2, 4):
        prompt = language.encode(case.prompt)
        spec = decode(engine.decoder, prompt, "linear_spec", max_tokens=32)
        assert spec.tokens == decode(engine.decoder, prompt, "ar", max_tokens=32).tokens
        num_tokens += len(spec.tokens)
        num_forwards += spec.meter.num_forwards
    # Two forwards a cycle: one token is the verifier's, the rest are accepted drafts.
    assert num_tokens / (num_forwards / 2) > 2


def test_state_continues_the_data() -> None:
    sequences = [each[:40] for each in texts(4)]

    def task() -> FullConversion:
        return FullConversion(
            load_network(CHECKPOINT),
            Tokens(sequences),
            [],
            FullOptions(),
            tokenizer_folder=CHECKPOINT,
            sequences_per_step=1,
            seed=3,
        )

    whole, begun, resumed = task(), task(), task()
    expected = [whole.accumulate() for _ in range(4)]
    assert [begun.accumulate() for _ in range(2)] == expected[:2]
    resumed.restore(begun.state())
    assert [resumed.accumulate() for _ in range(2)] == expected[2:]


def test_a_sequence_without_masks_is_trained_on_all_the_same() -> None:
    task = conversion(load_network(CHECKPOINT), CHECKPOINT, texts(1))
    metrics = task.accumulate_batch([Noised(texts(1)[0], [])])
    assert metrics["mask_tokens"] == 0 and metrics["loss"] == pytest.approx(metrics["ar_loss"])
