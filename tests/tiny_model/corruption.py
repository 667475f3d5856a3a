"""Batches for `train`: packed documents, their partition into blocks and the masks over them.

Recipe: Nemotron-Labs-Diffusion (arXiv 2607.05722) and Megatron-Bridge's dual-stream layout, with
contiguous spans added, because an editor's hole is a span with visible text on both sides.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from tests.tiny_model import language
from tests.tiny_model.build_tokenizer import MASK_TOKEN_ID

MIN_MASK_RATE = 0.05
BEGIN_TOKEN_ID = 1
MAX_POSITION = 2048


@dataclass(frozen=True, slots=True)
class Batch:
    """clean, noisy: (B, L) tokens. weights: (B, L), 1 / p at masks, else 0. positions: (B, L).
    blocks: (B, L) index of each token's block. seeds: (B, L) whether a block starts there."""

    clean: Tensor
    noisy: Tensor
    weights: Tensor
    positions: Tensor
    blocks: Tensor
    seeds: Tensor


def packed_tokens(seed: int, num_tokens: int) -> Iterator[list[int]]:
    """Windows of `num_tokens` tokens, each over fresh documents with an end token between them.
    Half begin with a document's start (some of these with ``<s>``), half inside a document."""
    rng = random.Random(seed)
    source = language.documents(seed, held_out=False)
    while True:
        window = language.encode(next(source).text)
        if rng.random() < 0.5:
            window = window[rng.randrange(len(window)) :]
        elif rng.random() < 0.5:
            window = [BEGIN_TOKEN_ID, *window]
        while len(window) < num_tokens:
            window += [language.END_TOKEN_ID, *language.encode(next(source).text)]
        yield window[:num_tokens]


def block_lengths(rng: random.Random, num_tokens: int) -> list[int]:
    """Lengths of blocks covering `num_tokens`: half of them full, and the first cut short, so
    that a block starts anywhere and may end anywhere."""
    lengths = [rng.randint(1, 32)]
    size = rng.choice((16, 32))
    while sum(lengths) < num_tokens:
        lengths.append(size if rng.random() < 0.5 else rng.randint(4, 32))
    lengths[-1] -= sum(lengths) - num_tokens
    return lengths


def masked_slots(rng: random.Random, length: int, rate: float) -> tuple[list[bool], float]:
    """Which of a block's `length` slots are masked, and the rate to weight their loss with."""
    kind = rng.random()
    if kind < 0.4:
        return [rng.random() < rate for _ in range(length)], rate
    if kind < 0.8 and length > 2:
        start = rng.randrange(1, length - 1)
        stop = rng.randrange(start + 1, length)
        return [start <= i < stop for i in range(length)], (stop - start) / length
    return [i > 0 for i in range(length)], 1.0


def batches(seed: int, *, num_rows: int, num_tokens: int, drafts: bool) -> Iterator[Batch]:
    """Endless batches. drafts: every block is a seed and masks, as the drafter meets it."""
    rng = random.Random(seed)
    windows = packed_tokens(seed, num_tokens)
    while True:
        rows = [_row(rng, next(windows), drafts=drafts) for _ in range(num_rows)]
        masked, weights, blocks, seeds, positions = (
            torch.tensor(column) for column in zip(*(row[1:] for row in rows), strict=True)
        )
        clean = torch.tensor([row[0] for row in rows])
        noisy = torch.where(masked, MASK_TOKEN_ID, clean)
        yield Batch(clean, noisy, weights, positions, blocks, seeds)


def _row(
    rng: random.Random, tokens: list[int], *, drafts: bool
) -> tuple[list[int], list[bool], list[float], list[int], list[bool], list[int]]:
    masked: list[bool] = []
    weights: list[float] = []
    blocks: list[int] = []
    seeds: list[bool] = []
    rate = 1e-3 + (1 - 1e-3) * rng.random()
    for index, length in enumerate(block_lengths(rng, len(tokens))):
        slots, slot_rate = masked_slots(rng, length, rate)
        if drafts:
            slots, slot_rate = [i > 0 for i in range(length)], 1.0
        masked += slots
        weights += [slot / max(slot_rate, MIN_MASK_RATE) for slot in slots]
        blocks += [index] * length
        seeds += [i == 0 for i in range(length)]
    # Far positions are seen too, so that the query scale meets its whole range.
    first = rng.randrange(MAX_POSITION - len(tokens)) if rng.random() < 0.3 else 0
    return tokens, masked, weights, blocks, seeds, list(range(first, first + len(tokens)))


def noisy_mask(blocks: Tensor) -> Tensor:
    """(B, L) block indices to (B, 1, L, 2L): own block of the noisy half, earlier clean ones."""
    own = blocks[:, :, None] == blocks[:, None, :]
    earlier = blocks[:, :, None] > blocks[:, None, :]
    return torch.cat((own, earlier), -1)[:, None]
