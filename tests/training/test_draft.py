"""The diffusion adapter's objective."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from engine.models.config import AdapterScope, Alignment
from engine.training.draft import DraftAdapter, DraftOptions, Target
from engine.training.loop import TrainingError
from engine.training.lora import LowRankSet
from engine.training.network import Network
from engine.training.noise import IGNORED, Block, BlockMaker, noisy_rows
from engine.training.objective import clean_rows
from engine.weights.adapters import read_adapter, write_adapter
from tests.training.networks import (
    CPU,
    Tokens,
    causal_logits,
    engine_block,
    filled_cache,
    load_decoder,
    load_network,
    low_rank,
    some_tokens,
)

END, PAD = 11, 2


def own_text(network: Network, num: int, seed: int) -> list[int]:
    """What the causal model writes, with a token of its second choice now and then."""
    tokens, rng = some_tokens(4, seed), random.Random(seed)
    while len(tokens) < num:
        best = causal_logits(network, [tokens])[0][-1].topk(2).indices.tolist()
        tokens.append(best[rng.random() < 0.1])
    return tokens


def objective(
    network: Network,
    lora: LowRankSet,
    sequences: list[list[int]],
    **options: Any,
) -> DraftAdapter:
    return DraftAdapter(
        network,
        lora,
        Tokens(sequences),
        sequences,
        DraftOptions(**{"kinds": {"draft": 1.0}, "blocks_per_sequence": 12} | options),
        BlockMaker(network.config, END, PAD),
        sequences_per_step=len(sequences),
        seed=0,
    )


@pytest.mark.parametrize("target", ["data", "argmax", "distribution"])
def test_loss_is_that_of_each_row(
    qwen_folder: Path, target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A draft block and a hole together, each row computed for itself: drafts learn what is asked
    for, the hole, about which the clean stream says nothing, its own tokens in any case."""
    network = load_network(qwen_folder)
    lora = low_rank(network)
    tokens = some_tokens(24, 1)
    maker = BlockMaker(network.config, END, PAD)
    made = [maker.draft(tokens, 6, 3), maker.hole(tokens, 10, 2, canvas=5, num_suffix=2)]
    blocks = [block for block in made if block is not None]
    task = objective(network, lora, [tokens], target=target, slot_decay=0.5)
    monkeypatch.setattr(DraftAdapter, "_blocks", lambda *_: blocks)
    (teacher,) = causal_logits(network, [tokens])
    total = weight_sum = 0.0
    for block in blocks:
        logits = block_logits(network, tokens, block, lora)
        slot = 0
        for row, (wanted, source) in enumerate(zip(block.targets, block.sources, strict=True)):
            if wanted == IGNORED:
                continue
            truth = torch.tensor(wanted)
            if source != IGNORED and target == "argmax":
                truth = teacher[source].argmax()
            elif source != IGNORED and target == "distribution":
                truth = teacher[source].softmax(-1)
            weight = block.weights[row] * 0.5**slot
            total += weight * float(F.cross_entropy(logits[row], truth))
            weight_sum += weight
            slot += 1
    metrics = task.accumulate()
    assert metrics["loss"] == pytest.approx(total / weight_sum, rel=1e-4)
    assert metrics["mask_tokens"] == 3 + 4


def block_logits(
    network: Network, tokens: list[int], block: Block, lora: LowRankSet
) -> torch.Tensor:
    with torch.no_grad():
        _, memory = network.forward(clean_rows([tokens], CPU))
        rows = noisy_rows([(0, block)], network.config, CPU)
        hidden, _ = network.forward(rows, lora, memory=memory, masks_only=True)
        return network.logits(hidden)


def test_gradients_reach_the_adapter_alone(qwen_folder: Path) -> None:
    network = load_network(qwen_folder)
    task = objective(network, low_rank(network), [some_tokens(30, 2)], on_policy=False)
    task.accumulate()
    for name, leaf in task.parameters():
        assert leaf.grad is not None and bool(leaf.grad.any()), name
    assert not network.embedding.requires_grad
    assert not any(layer.qkv.requires_grad for layer in network.layers)


def test_drafts_start_where_the_text_is_the_models(
    qwen_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = load_network(qwen_folder)
    tokens = own_text(network, 30, 3)
    choices = causal_logits(network, [tokens])[0].argmax(dim=-1).tolist()
    begun: list[int] = []
    maker = BlockMaker.draft

    def draft(self: BlockMaker, tokens: list[int], anchor: int, num_masks: int) -> Block | None:
        begun.append(anchor)
        return maker(self, tokens, anchor, num_masks)

    monkeypatch.setattr(BlockMaker, "draft", draft)
    objective(network, low_rank(network), [tokens], blocks_per_sequence=60).accumulate()
    assert len(set(begun)) > 5
    assert all(choices[at] == tokens[at + 1] for at in begun)
    begun.clear()
    objective(
        network, low_rank(network), [tokens], blocks_per_sequence=60, on_policy=False
    ).accumulate()
    assert any(choices[at] != tokens[at + 1] for at in begun)


@pytest.mark.parametrize(
    ("alignment", "scope"),
    [("next_position", "masks"), ("same_position", "block")],
)
def test_acceptance_is_that_of_the_engines_draft_pass(
    qwen_folder: Path, tmp_path: Path, alignment: Alignment, scope: AdapterScope
) -> None:
    """Each judged anchor drafted again, one at a time, over a cache."""
    network = load_network(qwen_folder, alignment=alignment, adapter_scope=scope)
    sequences = [own_text(network, 36, 4), own_text(network, 36, 5)]
    lora = trained(network, sequences[:1])
    write_adapter(tmp_path, lora.export(torch.float32))
    decoder = load_decoder(qwen_folder, draft_adapter=tmp_path)
    decoder = replace(decoder, config=network.config)
    num_masks = 4
    figures = objective(network, lora, sequences, num_masks=(num_masks, num_masks)).evaluate()
    is_next = alignment == "next_position"
    num_judged = 3 if is_next else 4
    counts = []
    for tokens in sequences:
        choices = filled_cache(decoder, tokens)[1].argmax(dim=-1).tolist()
        agrees = [choices[at] == tokens[at + 1] for at in range(len(tokens) - 1)]
        anchors = [at for at in range(len(tokens) - num_masks - 1) if all(agrees[at : at + 3])]
        for at in anchors[::3]:
            block = [tokens[at], *[network.config.mask_token_id] * num_masks]
            best = engine_block(decoder, tokens[:at], block).argmax(dim=-1).tolist()
            wanted = choices[at + is_next :][:num_judged]
            pairs = zip(best[1 : 1 + num_judged], wanted, strict=True)
            counts.append(next((i for i, (a, b) in enumerate(pairs) if a != b), num_judged))
    assert len(counts) > 3
    assert figures["accepted_drafts"] == pytest.approx(sum(counts) / len(counts))
    assert 0 < figures["accepted_drafts"] < num_judged, "neither nothing nor all"
    free = 2 if is_next else 1
    assert figures["tokens_per_cycle"] == pytest.approx(free + figures["accepted_drafts"])


def trained(network: Network, sequences: list[list[int]]) -> LowRankSet:
    """A few steps on `sequences`, so that some drafts are right and some are not."""
    lora = LowRankSet(
        network.config,
        rank=8,
        alpha=16,
        mask_embedding=network.mask_embedding,
        device=CPU,
        seed=0,
    )
    task = objective(network, lora, sequences, num_masks=(4, 4), on_policy=False)
    optimizer = torch.optim.AdamW([leaf for _, leaf in task.parameters()], lr=1e-2)
    losses = []
    for _ in range(15):
        optimizer.zero_grad()
        losses.append(task.accumulate()["loss"])
        optimizer.step()
    # A few steps lower the loss.
    assert losses[-1] < losses[0] - 1.0
    return lora


def test_all_kinds_of_blocks_are_mixed(qwen_folder: Path) -> None:
    network = load_network(qwen_folder)
    kinds = {"draft": 0.4, "random": 0.3, "hole": 0.3}
    task = objective(
        network, low_rank(network), [some_tokens(60, 7)], kinds=kinds, on_policy=False, late=1.0
    )
    metrics = task.accumulate()
    assert metrics["mask_tokens"] > 12 and metrics["loss"] > 0


def test_state_continues_the_data(qwen_folder: Path) -> None:
    network = load_network(qwen_folder)
    sequences = [some_tokens(30, seed) for seed in range(3)]

    def task() -> DraftAdapter:
        return DraftAdapter(
            network,
            low_rank(network),
            Tokens(sequences),
            [],
            DraftOptions(kinds={"draft": 1.0}, on_policy=False),
            BlockMaker(network.config, END, PAD),
            sequences_per_step=1,
            seed=4,
        )

    whole, resumed = task(), task()
    expected = [whole.accumulate() for _ in range(5)]
    begun = task()
    assert [begun.accumulate() for _ in range(2)] == expected[:2]
    resumed.restore(begun.state())
    assert [resumed.accumulate() for _ in range(3)] == expected[2:]


def test_text_without_a_place_for_a_block_is_an_error(qwen_folder: Path) -> None:
    network = load_network(qwen_folder)
    task = objective(network, low_rank(network), [some_tokens(4, 1)], num_masks=(5, 5))
    with pytest.raises(TrainingError, match="long enough"):
        task.accumulate()


def test_export_is_read_by_the_engine(qwen_folder: Path, tmp_path: Path) -> None:
    network = load_network(qwen_folder)
    task = objective(network, low_rank(network), [some_tokens(20, 1)])
    task.export(tmp_path)
    adapter = read_adapter(tmp_path, network.config)
    assert adapter.mask_embedding is not None
    assert all(down.dtype == torch.bfloat16 for down, _ in adapter.pairs.values())
