"""Noisy blocks: what is masked, what each row must predict, and which clean tokens it sees.

Three kinds, mixed by weight. *Draft*: behind a seed everything is masked, as self-speculation
drafts. *Random*: tokens masked independently with a ratio drawn per block (LLaDA, arXiv
2502.09992), later slots more if asked (position-dependent masking of Efficient-DLM, arXiv
2512.14067). *Hole*: a masked span with the head of the suffix visible to its right, right-filled
with end and padding tokens, so that the model learns where to stop by deleting only (the
fixed-window form of DreamOn).
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch

from engine.models.config import ModelConfig
from engine.training.rows import Rows

NoiseKind = Literal["draft", "random", "hole"]
IGNORED = -100
_MIN_RATIO = 1e-3


@dataclass(frozen=True, slots=True)
class Block:
    """One noisy block behind `context` clean tokens.

    ids and positions: its rows. targets: per row the token it must predict, or IGNORED. sources:
    per row the clean row whose causal logits say the same thing (distillation), or IGNORED.
    weights: per row, 1 / mask ratio for random masks, else 1.
    """

    context: int
    ids: list[int]
    positions: list[int]
    targets: list[int]
    sources: list[int]
    weights: list[float]


@dataclass(frozen=True, slots=True)
class BlockMaker:
    """Makes blocks for one model: its mask token, its alignment, its adapter scope."""

    config: ModelConfig
    end_token: int
    pad_token: int

    def draft(self, tokens: Sequence[int], anchor: int, num_masks: int) -> Block | None:
        """`num_masks` masks behind the seed ``tokens[anchor]``, which is a clean token itself.

        With adapter scope ``masks`` the seed's row is exactly the clean one, so only the masks get
        rows; with scope ``block`` the seed is repeated inside. None where the text is too short.
        """
        if anchor + 1 + num_masks + self._shift > len(tokens):
            return None
        slots = list(range(anchor + 1, anchor + 1 + num_masks))
        if self.config.adapter_scope == "masks":
            return self._block(tokens, anchor + 1, slots, frozenset(slots))
        return self._block(tokens, anchor, [anchor, *slots], frozenset(slots))

    def random(
        self, tokens: Sequence[int], start: int, size: int, rng: random.Random, *, late: float = 0.0
    ) -> Block | None:
        """`size` tokens from `start` on, each masked with one ratio drawn from (0, 1].

        late: how much more the later slots are masked: weights exp(late * (1 - ratio) * slot),
        scaled so that the mean stays the ratio. The first slot is the seed and stays visible.
        """
        stop = min(start + size, len(tokens) - self._shift)
        if stop - start < 2:
            return None
        ratio = _MIN_RATIO + (1.0 - _MIN_RATIO) * rng.random()
        places = list(range(start, stop))
        tilts = [2.718281828 ** (late * (1.0 - ratio) * at / size) for at in range(len(places))]
        mean = sum(tilts) / len(tilts)
        chances = [min(1.0, ratio * tilt / mean) for tilt in tilts]
        masked = frozenset(
            place
            for place, chance in zip(places[1:], chances[1:], strict=True)
            if rng.random() < chance
        )
        if not masked:
            return None
        block = self._block(tokens, start, places, masked, weight=1.0 / max(ratio, 0.05))
        # With next-position logits a mask before a visible token has nothing to say.
        return block if any(target != IGNORED for target in block.targets) else None

    def hole(
        self, tokens: Sequence[int], start: int, length: int, *, canvas: int, num_suffix: int
    ) -> Block | None:
        """A canvas of masks behind ``tokens[start]`` (the seed) for the next `length` tokens, an
        end token and padding; then `num_suffix` visible tokens of what follows the span.

        The suffix stands behind the canvas, where it will be shown at inference, whatever the
        span's true length.
        """
        end = start + 1 + length
        if length + 1 > canvas or end + num_suffix > len(tokens):
            return None
        filled = [*tokens[start + 1 : end], self.end_token]
        filled += [self.pad_token] * (canvas - len(filled))
        seed = [] if self.config.adapter_scope == "masks" else [tokens[start]]
        head = list(tokens[end : end + num_suffix])
        mask = self.config.mask_token_id
        first = start + 1 - len(seed)
        ids = [*seed, *([mask] * canvas), *head]
        positions = list(range(first, first + len(ids)))
        shift = self._shift
        targets = [IGNORED] * len(ids)
        weights = [0.0] * len(ids)
        num_pads = canvas - length - 1
        for slot in range(canvas - shift):
            row = len(seed) + slot
            targets[row] = filled[slot + shift]
            # All padding together counts as one token, as in DreamOn.
            is_pad = slot + shift > length
            weights[row] = 1.0 / num_pads if is_pad else 1.0
        return Block(start + 1 - len(seed), ids, positions, targets, [IGNORED] * len(ids), weights)

    @property
    def _shift(self) -> int:
        """How far the predicted token stands behind the row that predicts it."""
        return 0 if self.config.alignment == "same_position" else 1

    def _block(
        self,
        tokens: Sequence[int],
        context: int,
        places: Sequence[int],
        masked: frozenset[int],
        weight: float = 1.0,
    ) -> Block:
        mask, shift = self.config.mask_token_id, self._shift
        targets, sources = [], []
        for place in places:
            # A mask row predicts what the block does not show; a visible row is the base's own.
            predicts = place + shift
            hidden = place in masked and (predicts in masked or predicts > places[-1])
            targets.append(tokens[predicts] if hidden else IGNORED)
            sources.append(predicts - 1 if hidden else IGNORED)
        return Block(
            context,
            [mask if place in masked else tokens[place] for place in places],
            list(places),
            targets,
            sources,
            [weight] * len(places),
        )


def noisy_rows(
    blocks: Sequence[tuple[int, Block]], config: ModelConfig, device: torch.device
) -> Rows:
    """Rows of blocks given as (document number, block), neighbours by document."""
    ids, positions, documents, numbers, contexts = [], [], [], [], []
    for number, (document, block) in enumerate(blocks):
        size = len(block.ids)
        ids += block.ids
        positions += block.positions
        documents += [document] * size
        numbers += [number] * size
        contexts += [block.context] * size
    opens = [int(config.adapter_scope == "block" or token == config.mask_token_id) for token in ids]
    return Rows(
        *(torch.tensor(each) for each in (ids, positions, documents, numbers, contexts, opens))
    ).to(device)
