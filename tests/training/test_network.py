"""The network as it is trained computes what the engine's decoder computes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from engine.models.config import AdapterScope, Alignment
from engine.training.leaves import Leaves
from engine.training.lora import LowRankSet
from engine.training.network import Memory, Network
from engine.training.noise import Block, noisy_rows
from engine.training.objective import clean_rows
from engine.training.rows import Rows
from engine.weights.adapters import read_adapter
from tests.tiny_model import CHECKPOINT
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

# Masks and visible tokens mixed, as denoising and holes have them.
_BLOCK = [210, MASK, MASK, 333, MASK, 150, 151]
_SCOPES: tuple[AdapterScope, ...] = ("block", "masks")
_ALIGNMENTS: tuple[Alignment, ...] = ("same_position", "next_position")


@pytest.fixture(scope="module", params=["tiny", "qwen"])
def folder(request: pytest.FixtureRequest, qwen_folder: Path) -> Path:
    return CHECKPOINT if request.param == "tiny" else qwen_folder


def block_of(context: int, ids: list[int]) -> Block:
    return Block(context, ids, list(range(context, context + len(ids))), [], [], [])


def memory_of(network: Network, sequences: list[list[int]]) -> Memory:
    return network.forward(clean_rows(sequences, CPU))[1]


def block_logits(
    network: Network,
    sequences: list[list[int]],
    blocks: list[tuple[int, Block]],
    lora: LowRankSet | None,
) -> torch.Tensor:
    """(rows, vocab) of noisy blocks given as (document, block)."""
    with torch.no_grad():
        memory = memory_of(network, sequences)
        rows = noisy_rows(blocks, network.config, CPU)
        masks_only = network.config.adapter_scope == "masks"
        hidden, _ = network.forward(rows, lora, memory=memory, masks_only=masks_only)
        return network.logits(hidden)


def test_causal_logits_are_the_decoders(folder: Path) -> None:
    """Packed beside each other; positions beyond 128 meet the query scale of the tiny model."""
    decoder, network = load_decoder(folder), load_network(folder)
    sequences = [some_tokens(190, 1), some_tokens(1, 2), some_tokens(40, 3)]
    for tokens, found in zip(sequences, causal_logits(network, sequences), strict=True):
        torch.testing.assert_close(found, filled_cache(decoder, tokens)[1], **TOLERANCE)


@pytest.mark.parametrize("scope", _SCOPES)
@pytest.mark.parametrize("alignment", _ALIGNMENTS)
def test_draft_blocks_are_the_decoders(
    qwen_folder: Path, qwen_adapter: Path, scope: AdapterScope, alignment: Alignment
) -> None:
    """With an adapter, at two places of two documents at once."""
    decoder = load_decoder(qwen_folder, draft_adapter=qwen_adapter)
    config = replace(decoder.config, alignment=alignment, adapter_scope=scope)
    decoder = replace(decoder, config=config)
    network = load_network(qwen_folder, alignment=alignment, adapter_scope=scope)
    lora = low_rank(network)
    lora.load(read_adapter(qwen_adapter, config))
    sequences = [some_tokens(30, 1), some_tokens(25, 2)]
    places = [(0, 4), (0, 21), (1, 0), (1, 11)]
    blocks = [(document, block_of(context, _BLOCK)) for document, context in places]
    found = block_logits(network, sequences, blocks, lora).split(len(_BLOCK))
    for (document, context), logits in zip(places, found, strict=True):
        expected = engine_block(decoder, sequences[document][:context], _BLOCK)
        torch.testing.assert_close(logits, expected, **TOLERANCE)


def test_tiny_models_drafts_are_the_decoders() -> None:
    """Its own adapter sits on o_proj alone and has no mask embedding."""
    decoder, network = load_decoder(CHECKPOINT), load_network(CHECKPOINT)
    adapter = read_adapter(CHECKPOINT / "linear_spec_lora", decoder.config)
    lora = LowRankSet(
        decoder.config,
        rank=adapter.rank,
        alpha=adapter.rank,
        targets=("o_proj",),
        device=CPU,
        seed=0,
    )
    lora.load(adapter)
    tokens = some_tokens(150, 4)
    block = [tokens[140], *[MASK] * 9]
    found = block_logits(network, [tokens], [(0, block_of(140, block))], lora)
    torch.testing.assert_close(found, engine_block(decoder, tokens[:140], block), **TOLERANCE)


def test_masks_only_leaves_visible_rows_bit_identical(qwen_folder: Path) -> None:
    network = load_network(qwen_folder)
    tokens = some_tokens(20, 5)
    blocks = [(0, block_of(7, _BLOCK))]
    plain = block_logits(network, [tokens], blocks, None)
    adapted = block_logits(network, [tokens], blocks, low_rank(network))
    is_mask = torch.tensor(_BLOCK) == MASK
    assert torch.equal(adapted[~is_mask], plain[~is_mask])
    assert not torch.isclose(adapted[is_mask], plain[is_mask], atol=1e-2).all(dim=1).any()


def test_a_noisy_block_sees_only_earlier_clean_tokens(folder: Path) -> None:
    network = load_network(folder)
    tokens = some_tokens(24, 6)
    blocks = [(0, block_of(9, _BLOCK))]
    plain = block_logits(network, [tokens], blocks, None)
    later, earlier = [*tokens], [*tokens]
    later[9], earlier[8] = 130, 130
    assert torch.equal(block_logits(network, [later], blocks, None), plain)
    changed = (block_logits(network, [earlier], blocks, None) - plain).abs().amax(dim=1)
    assert (changed > 1e-3).all()


def test_clean_rows_see_no_noise(folder: Path) -> None:
    network = load_network(folder)
    tokens = some_tokens(16, 7)
    noisy = noisy_rows([(0, block_of(3, _BLOCK))], network.config, CPU)
    with torch.no_grad():
        together, _ = network.forward(Rows.concatenate([clean_rows([tokens], CPU), noisy]))
        alone, _ = network.forward(clean_rows([tokens], CPU))
    torch.testing.assert_close(together[:16], alone, **TOLERANCE)


def test_memory_is_the_same_as_one_pass(folder: Path) -> None:
    network = load_network(folder)
    tokens = some_tokens(16, 8)
    blocks = [(0, block_of(3, _BLOCK)), (0, block_of(10, _BLOCK))]
    rows = [clean_rows([tokens], CPU), noisy_rows(blocks, network.config, CPU)]
    with torch.no_grad():
        hidden, _ = network.forward(Rows.concatenate(rows))
        together = network.logits(hidden[16:])
    torch.testing.assert_close(together, block_logits(network, [tokens], blocks, None), **TOLERANCE)


def test_weights_of_another_dtype_are_cast_where_they_are_used(qwen_folder: Path) -> None:
    """fp32 leaves under bf16 arithmetic: the same result as bf16 weights, fp32 gradients."""
    network = load_network(qwen_folder, dtype="bfloat16")
    rows = clean_rows([some_tokens(12, 9)], CPU)
    with torch.no_grad():
        plain, _ = network.forward(rows)
    leaves = dict(Leaves(network))
    hidden, _ = network.forward(rows)
    assert torch.equal(hidden, plain) and hidden.dtype == torch.bfloat16
    network.logits(hidden).logsumexp(-1).sum().backward()
    for name, leaf in leaves.items():
        # No mask is among the rows.
        assert leaf.dtype == torch.float32
        assert (leaf.grad is not None and bool(leaf.grad.any())) == (name != "mask_embedding")
