"""Noise over whole sequences, for full conversion: blocks side by side, each partly masked."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import NamedTuple

from engine.models.config import ModelConfig
from engine.training.noise import IGNORED, Block

_MIN_RATIO = 1e-3
_LEAST_WEIGHTED_RATIO = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class FullOptions:
    """alpha: weight of the diffusion loss (0.3 in the paper, 0.3 to 0.5 for small models).
    block_size: None = the model's own. random_offsets: the first block of a sequence is cut short
    at random, as blocks start anywhere at inference; else blocks are aligned to their size.
    draft_share: how many of the blocks are a visible first token and masks, as self-speculation
    drafts; the others are masked at their sequence's ratio."""

    alpha: float = 0.3
    block_size: int | None = None
    random_offsets: bool = True
    draft_share: float = 0.0


class Noised(NamedTuple):
    """A clean sequence and its noisy blocks; those without a mask are left out."""

    tokens: list[int]
    blocks: list[Block]

    @property
    def num_rows(self) -> int:
        return len(self.tokens) + sum(len(block.ids) for block in self.blocks)

    @property
    def num_labels(self) -> int:
        """Next tokens to predict in the clean stream."""
        return len(self.tokens) - 1

    @property
    def num_masks(self) -> int:
        return sum(target != IGNORED for block in self.blocks for target in block.targets)


def add_noise(
    tokens: list[int], config: ModelConfig, options: FullOptions, rng: random.Random
) -> Noised:
    """Cover `tokens` with blocks of ``config.block_size`` and mask them.

    One ratio p from (0, 1] per sequence, each token masked independently with p and weighted by
    1 / p, clipped at p = 0.05 to bound the variance; in draft blocks the weight is 1.
    """
    ratio = _MIN_RATIO + (1.0 - _MIN_RATIO) * rng.random()
    size = config.block_size
    blocks: list[Block] = []
    start, end = 0, rng.randint(1, size) if options.random_offsets else size
    while start < len(tokens):
        places = range(start, min(end, len(tokens)))
        if rng.random() < options.draft_share:
            masked, weight = set(places[1:]), 1.0
        else:
            masked = {place for place in places if rng.random() < ratio}
            weight = 1.0 / max(ratio, _LEAST_WEIGHTED_RATIO)
        if masked:
            blocks.append(
                Block(
                    start,
                    [
                        config.mask_token_id if place in masked else tokens[place]
                        for place in places
                    ],
                    list(places),
                    [tokens[place] if place in masked else IGNORED for place in places],
                    [IGNORED] * len(places),
                    [weight] * len(places),
                )
            )
        start, end = end, end + size
    return Noised(tokens, blocks)
