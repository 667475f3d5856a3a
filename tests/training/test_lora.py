"""What is trained is what the engine loads from the files."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from engine.training.lora import LowRankSet
from engine.training.noise import Block, noisy_rows
from engine.training.objective import clean_rows
from engine.weights.adapters import read_adapter, write_adapter
from tests.training.networks import (
    CPU,
    MASK,
    TOLERANCE,
    causal_logits,
    engine_block,
    filled_cache,
    load_decoder,
    load_network,
    low_rank,
    some_tokens,
)


def test_fresh_pairs_change_nothing(qwen_folder: Path) -> None:
    network = load_network(qwen_folder)
    fresh = LowRankSet(network.config, rank=4, alpha=8, device=CPU, seed=1)
    tokens = some_tokens(10)
    (plain,), (adapted,) = causal_logits(network, [tokens]), causal_logits(network, [tokens], fresh)
    assert torch.equal(plain, adapted)
    assert fresh.num_parameters == sum(leaf.numel() for _, leaf in fresh.parameters())
    assert all(leaf.requires_grad and leaf.is_leaf for _, leaf in fresh.parameters())


def test_exported_draft_adapter_gives_the_same_drafts(qwen_folder: Path, tmp_path: Path) -> None:
    network = load_network(qwen_folder)
    lora = low_rank(network)
    write_adapter(tmp_path, lora.export(torch.float32))
    tokens, ids = some_tokens(20, 2), [140, MASK, MASK, 150, MASK]
    block = Block(20, ids, list(range(20, 25)), [], [], [])
    with torch.no_grad():
        _, memory = network.forward(clean_rows([tokens], CPU))
        rows = noisy_rows([(0, block)], network.config, CPU)
        hidden, _ = network.forward(rows, lora, memory=memory, masks_only=True)
    decoder = load_decoder(qwen_folder, draft_adapter=tmp_path)
    expected = engine_block(decoder, tokens, ids)
    torch.testing.assert_close(network.logits(hidden), expected, **TOLERANCE)
    without = engine_block(load_decoder(qwen_folder), tokens, ids)
    assert not torch.allclose(without, expected, atol=1e-2)


def test_exported_causal_adapter_merges_to_the_same_logits(
    qwen_folder: Path, tmp_path: Path
) -> None:
    network = load_network(qwen_folder)
    lora = low_rank(network, masks=False)
    write_adapter(tmp_path, lora.export(torch.float32))
    tokens = some_tokens(30, 3)
    (found,) = causal_logits(network, [tokens], lora)
    decoder = load_decoder(qwen_folder, causal_adapter=tmp_path)
    torch.testing.assert_close(found, filled_cache(decoder, tokens)[1], **TOLERANCE)


def test_an_adapter_of_another_scale_is_the_same_function(
    qwen_folder: Path, tmp_path: Path
) -> None:
    network = load_network(qwen_folder)
    lora = low_rank(network)
    write_adapter(tmp_path, lora.export(torch.float32))
    other = LowRankSet(
        network.config,
        rank=lora.rank,
        alpha=5 * lora.rank,
        mask_embedding=torch.zeros(network.config.hidden_size),
        device=CPU,
        seed=9,
    )
    other.load(read_adapter(tmp_path, network.config))
    for module, (down, up) in lora.pairs.items():
        loaded = other.pairs[module]
        product = other.scale * loaded[1] @ loaded[0]
        torch.testing.assert_close(product, lora.scale * up @ down)
    assert other.mask_embedding is not None and lora.mask_embedding is not None
    assert torch.equal(other.mask_embedding, lora.mask_embedding)
    assert all(leaf.requires_grad for _, leaf in other.parameters())


def test_another_rank_is_refused(qwen_folder: Path) -> None:
    network = load_network(qwen_folder)
    with pytest.raises(ValueError, match="another rank"):
        low_rank(network, rank=2).load(low_rank(network).export(torch.float32))
