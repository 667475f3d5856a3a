"""Case cycles: a warm completion by linear self-speculation at an acceptance that is told.

Random weights accept nothing, and a model's own acceptance depends on the text. So every cycle, a
draft pass and a verify pass over a block, is taken to accept so many tokens; before the first, one
pass reads the token that was typed. The passes are real, each with its survey on the host, where
the modes wait for it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product

import torch

from engine.bench.forward_case import Grid, Point, pass_of, work_of
from engine.bench.rounds import Variant
from engine.bench.subject import Subject
from engine.bench.table import Line


@dataclass(frozen=True, slots=True)
class Cycles:
    """block: tokens of a block, the seed among them; accepted: tokens that a cycle emits."""

    block: int
    cached: int
    accepted: int

    def points(self, num_tokens: int) -> list[Point]:
        """The passes of a completion; the first one emits a token, too."""
        cycle = [Point(mode, self.block, 1, self.cached) for mode in ("draft", "verify")]
        num_cycles = math.ceil((num_tokens - 1) / self.accepted)
        return [Point("verify", 1, 1, self.cached), *cycle * num_cycles]


def cycle_lines(
    subjects: Sequence[Subject], grid: Grid, token_counts: Sequence[int], accepted: int
) -> list[tuple[Line, Variant]]:
    """Every number of tokens, with the first block and the first cached length of the grid."""
    made: list[tuple[Line, Variant]] = []
    room = subjects[0].decoder.config.max_positions - grid.blocks[0]
    cached = min(grid.cached[0], room)
    cycles = Cycles(grid.blocks[0], cached, accepted)
    for num_tokens, subject in product(token_counts, subjects):
        points = cycles.points(num_tokens)
        group = f"{num_tokens} tokens behind {cached}"
        keys = {
            "path": subject.path,
            "tokens": num_tokens,
            "block": cycles.block,
            "cached": cached,
            "accepted": accepted,
            "passes": len(points),
        }
        works = [work_of(subject, point) for point in points]
        line = Line(
            f"{subject.path}: {group}",
            keys,
            group=group,
            work=sum(works[1:], works[0]),
            rate=subject.storage.rate,
        )
        made.append((line, _variant(line.name, subject, points)))
    return made


def _variant(name: str, subject: Subject, points: Sequence[Point]) -> Variant:
    made: dict[Point, Callable[[], torch.Tensor]] = {
        point: pass_of(subject, point) for point in dict.fromkeys(points)
    }

    def run() -> None:
        for point in points:
            # What the next pass holds depends on what this one says.
            made[point]().tolist()

    return Variant(name, lambda number: subject.timed(run), warm_calls=1)
