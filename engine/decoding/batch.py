"""One model pass for the forwards of several sequences; called by `engine.engine`.

A small forward on a CPU spends its time on reading weights, so two sequences that decode take
little longer together than one alone. The slow twin is one forward after the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING

import torch

from engine.decoding.forward import Output, brought_to, run_forward, visible_of
from engine.decoding.loop import Pass, can_join
from engine.decoding.scores import Head, Scores
from engine.models.decoder import Decoder, Segment

if TYPE_CHECKING:
    from engine.graphs.runner import GraphRunner


@dataclass(frozen=True, slots=True)
class BatchOutput(Output):
    """Output whose rows, from `first_row` on, share one head with those of the whole batch: its
    weights, too, are read once."""

    head: Head
    first_row: int

    def scores(self, rows: slice | Sequence[int], of: int = 0) -> Scores:
        """See Output."""
        assert of == 0
        own = range(self.first_row, self.first_row + self.hidden.shape[1])
        return Scores(self.head, own)[rows]


def run_passes(
    passes: Sequence[Pass], decoder: Decoder, runner: GraphRunner | None = None
) -> list[Output]:
    """The outputs of `passes`, which must be joinable if there are several. runner: does a single
    one where it can; what such an Output reads lazily holds until the next pass."""
    if len(passes) == 1:
        forward, cache = passes[0]
        static = None if runner is None else runner.run(forward, cache)
        return [run_forward(forward, decoder, cache) if static is None else static]
    assert all(can_join(forward) for forward, _ in passes)
    segments = [
        Segment(forward.ids, cache, visible_of(forward), forward.offsets, forward.draft_adapter)
        for forward, cache in ((brought_to(each, decoder.device), cache) for each, cache in passes)
    ]
    hidden = decoder.forward_many(segments)
    head = Head(torch.cat(hidden), decoder)
    first_rows = accumulate((len(rows) for rows in hidden), initial=0)
    return [
        BatchOutput(rows.unsqueeze(0), decoder, head, first_row)
        for rows, first_row in zip(hidden, first_rows, strict=False)
    ]
