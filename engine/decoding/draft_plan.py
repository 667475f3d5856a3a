"""Draft plans: how many tokens to draft behind each outcome of the verify pass that they share.

A pass over seed and drafts d1..dm has m + 1 outcomes: exactly 0, 1, ..., m drafts are right. Rows
spent behind an outcome that does not come about are lost, and on a CPU every row costs time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from operator import mul

# Finer steps would only find a layout that is hardly better.
_GAIN_STEP = 1.25

Plan = Callable[[Sequence[float], int], list[int]]
"""(confidences of the drafts, tokens still wanted) -> depths. depths[i]: how many tokens to draft
behind the outcome "exactly i drafts are right"; ``len(depths) - 1`` drafts enter the pass."""


def uniform_plan(block_size: int) -> Plan:
    """Every outcome gets `block_size` - 1 drafts: the published layout of quadratic speculation."""

    def plan(confidences: Sequence[float], num_wanted: int) -> list[int]:
        return [block_size - 1] * min(len(confidences) + 1, num_wanted)

    return plan


@dataclass(frozen=True, slots=True)
class AdaptivePlan:
    """Rows only where they are expected to save at least `min_gain` tokens each.

    A draft enters the pass while the product of the confidences up to it, its chance to be
    accepted, reaches `min_gain`. Behind an outcome of probability p another token is drafted while
    p times its own chance does; that chance is the product of `slot_acceptance`, the share of
    drafts at each depth that are right when all before them were. The optimum of `min_gain` is the
    time of one more row over the time per token: 0.03 to 0.2 on a CPU, next to nothing on a GPU.

    Up to `free_rows` rows, reading the weights takes longer than computing with them: so many are
    laid out by a smaller gain, down to `free_gain`. mask_gain: what all masks of a pass must be
    expected to save together, since the adapter takes time whatever their number.
    """

    min_gain: float = 0.05
    max_drafts: int = 6
    slot_acceptance: tuple[float, ...] = (0.5, 0.4, 0.5)
    """The last one holds for all deeper slots."""
    free_rows: int = 0
    free_gain: float = 0.0
    mask_gain: float = 0.0

    def __call__(self, confidences: Sequence[float], num_wanted: int) -> list[int]:
        depths = self._fitted(confidences, num_wanted, self.max_drafts)
        if any(depths) and self._saved_by_masks(confidences, depths) < self.mask_gain:
            return self._fitted(confidences, num_wanted, 0)
        return depths

    def _fitted(self, confidences: Sequence[float], num_wanted: int, max_drafts: int) -> list[int]:
        """The layout of the smallest gain whose rows are free; else that of `min_gain`."""
        gain = self.free_gain if self.free_rows else self.min_gain
        while True:
            depths = self._laid_out(confidences, num_wanted, max_drafts, gain)
            if gain >= self.min_gain or len(depths) + sum(depths) <= self.free_rows:
                return depths
            gain = min(gain * _GAIN_STEP, self.min_gain)

    def _laid_out(
        self, confidences: Sequence[float], num_wanted: int, max_drafts: int, min_gain: float
    ) -> list[int]:
        reached = [1.0, *accumulate(confidences[: max(num_wanted - 1, 0)], mul)]
        kept = [chance for chance in reached if chance >= min_gain]
        # An outcome of i right drafts emits i + 1 tokens; the next pass emits one more than drafts.
        return [
            self._depth(probability, min(max_drafts, max(num_wanted - i - 2, 0)), min_gain)
            for i, probability in enumerate(_outcomes(kept))
        ]

    def _depth(self, probability: float, max_depth: int, min_gain: float) -> int:
        chances = self._chances(probability, max_depth)
        return next((at for at, each in enumerate(chances) if each < min_gain), max_depth)

    def _chances(self, probability: float, depth: int) -> list[float]:
        """Of each mask behind an outcome of that probability, that its token will be emitted."""
        slots = self.slot_acceptance
        shares = [slots[min(at, len(slots) - 1)] for at in range(depth)]
        return list(accumulate(shares, mul, initial=probability))[1:]

    def _saved_by_masks(self, confidences: Sequence[float], depths: Sequence[int]) -> float:
        reached = [1.0, *accumulate(confidences[: len(depths) - 1], mul)]
        pairs = zip(_outcomes(reached), depths, strict=True)
        return sum(sum(self._chances(probability, depth)) for probability, depth in pairs)


def _outcomes(reached: Sequence[float]) -> list[float]:
    """reached[i]: the chance that at least i drafts are right -> that exactly i are."""
    return [chance - after for chance, after in zip(reached, [*reached[1:], 0.0], strict=True)]
