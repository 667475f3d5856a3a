"""Draft plans: how many tokens to draft behind each outcome of the verify pass that they share.

A pass over seed and drafts d1..dm has m + 1 outcomes: exactly 0, 1, ..., m drafts are right. Rows
spent behind an outcome that does not come about are lost, and on a CPU every row costs time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from operator import mul

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
    time of one more row over the time per token: 0.03 to 0.1 on a CPU, next to nothing on a GPU.
    """

    min_gain: float = 0.05
    max_drafts: int = 6
    slot_acceptance: tuple[float, ...] = (0.5, 0.4, 0.5)
    """The last one holds for all deeper slots."""

    def __call__(self, confidences: Sequence[float], num_wanted: int) -> list[int]:
        reached = [1.0, *accumulate(confidences[: max(num_wanted - 1, 0)], mul)]
        kept = [chance for chance in reached if chance >= self.min_gain]
        outcomes = [chance - after for chance, after in zip(kept, [*kept[1:], 0.0], strict=True)]
        # An outcome of i right drafts emits i + 1 tokens; the next pass emits one more than drafts.
        return [
            min(self._depth(probability), max(num_wanted - i - 2, 0))
            for i, probability in enumerate(outcomes)
        ]

    def _depth(self, probability: float) -> int:
        depth, chance = 0, probability
        while depth < self.max_drafts:
            chance *= self.slot_acceptance[min(depth, len(self.slot_acceptance) - 1)]
            if chance < self.min_gain:
                break
            depth += 1
        return depth
