"""Small models for tests of training: loaded as the engine loads them, and as they are trained."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from engine.decoding.blocks import block_view
from engine.device import choose_device
from engine.kv_cache import KVCache
from engine.models.attention import causal_mask
from engine.models.config import AdapterScope, Alignment
from engine.models.decoder import Decoder
from engine.models.load import load_model
from engine.training.lora import LowRankSet
from engine.training.network import Network
from engine.training.objective import clean_rows
from engine.training.rows import Rows

CPU = torch.device("cpu")
MASK = 100
TOLERANCE = {"atol": 2e-4, "rtol": 1e-4}


def load_decoder(folder: Path, *, dtype: str = "float32", **adapters: Path | str) -> Decoder:
    """On the CPU, with plain linear layers."""
    choice = choose_device("cpu", dtype, 1)
    return load_model(folder, choice, pack=False, **adapters).decoder  # type: ignore[arg-type]


def load_network(
    folder: Path,
    *,
    alignment: Alignment | None = None,
    adapter_scope: AdapterScope | None = None,
    dtype: str = "float32",
) -> Network:
    network = Network(load_decoder(folder, dtype=dtype))
    network.config = replace(
        network.config,
        alignment=alignment or network.config.alignment,
        adapter_scope=adapter_scope or network.config.adapter_scope,
    )
    return network


def some_tokens(num: int, seed: int = 0) -> list[int]:
    """Neither mask nor end tokens."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(110, 600, (num,), generator=generator).tolist()


def filled_cache(decoder: Decoder, tokens: list[int]) -> tuple[KVCache, torch.Tensor]:
    """A cache of `tokens`, and their causal logits (T, vocab)."""
    cache = decoder.new_cache()
    with torch.inference_mode():
        ids = torch.tensor([tokens])
        hidden = decoder.forward(ids, cache, visible=causal_mask(len(tokens), CPU))
        cache.commit(tokens)
        return cache, decoder.logits(hidden)


def engine_block(decoder: Decoder, context: list[int], block: list[int]) -> torch.Tensor:
    """(T, vocab): logits of one draft forward over `block`, adapter on, behind `context`."""
    cache = filled_cache(decoder, context)[0] if context else decoder.new_cache()
    ids = torch.tensor(block)
    view = block_view(ids, decoder.config)
    with torch.inference_mode():
        hidden = decoder.forward(
            ids[None],
            cache,
            visible=None if view == "full" else view,
            draft_adapter=True,
        )
        return decoder.logits(hidden)


def low_rank(network: Network, *, rank: int = 4, seed: int = 5, masks: bool = True) -> LowRankSet:
    """Pairs on every linear layer that change what the network computes, unlike fresh ones."""
    generator = torch.Generator().manual_seed(seed)
    embedding = torch.randn(network.config.hidden_size, generator=generator) * 0.5
    lora = LowRankSet(
        network.config,
        rank=rank,
        alpha=2 * rank,
        mask_embedding=embedding if masks else None,
        device=CPU,
        seed=seed,
    )
    with torch.no_grad():
        for _, up in lora.pairs.values():
            up.copy_(torch.randn(up.shape, generator=generator) * 0.1)
    return lora


def causal_logits(
    network: Network, sequences: list[list[int]], lora: LowRankSet | None = None
) -> list[torch.Tensor]:
    """(T, vocab) of each sequence, all computed in one batch."""
    with torch.no_grad():
        hidden, _ = network.forward(clean_rows(sequences, CPU), lora)
        return list(torch.split(network.logits(hidden), [len(each) for each in sequences]))


def rows_of(*columns: tuple[int, int, int, int, int, int]) -> Rows:
    """Rows given one by one as (id, position, document, block, context, opens)."""
    return Rows(*(torch.tensor(field) for field in zip(*columns, strict=True)))


class Tokens:
    """A token stream over given sequences, again and again."""

    def __init__(self, sequences: list[list[int]]) -> None:
        self._sequences = sequences
        self.cursor = (0, 0)

    def next_tokens(self) -> list[int]:
        epoch, at = self.cursor
        self.cursor = (epoch, at + 1) if at + 1 < len(self._sequences) else (epoch + 1, 0)
        return self._sequences[at]
