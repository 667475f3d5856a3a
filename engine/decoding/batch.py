"""One model pass for the forwards of several sequences; called by `engine.engine`.

A small forward on a CPU spends its time on reading weights, so two sequences that decode take
little longer together than one alone. The slow twin is one forward after the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from engine.decoding.forward import Output, run_forward, visible_of
from engine.decoding.loop import Pass, can_join
from engine.models.decoder import Decoder, Segment


@dataclass(frozen=True, slots=True)
class BatchOutput(Output):
    """Output whose head has run already, over the rows of the whole batch: its weights, too, are
    read once. head_logits fp32 (T, vocab_size)."""

    head_logits: torch.Tensor

    def logits(self, rows: slice | Sequence[int], of: int = 0) -> torch.Tensor:
        """See Output; a copy, as callers change what they get."""
        assert of == 0
        picked = self.head_logits[rows if isinstance(rows, slice) else list(rows)]
        return picked.clone() if isinstance(rows, slice) else picked


def run_passes(passes: Sequence[Pass], decoder: Decoder) -> list[Output]:
    """The outputs of `passes`, which must be joinable if there are several."""
    if len(passes) == 1:
        return [run_forward(passes[0].forward, decoder, passes[0].cache)]
    assert all(can_join(forward) for forward, _ in passes)
    segments = [
        Segment(forward.ids, cache, visible_of(forward), forward.offsets, forward.draft_adapter)
        for forward, cache in passes
    ]
    hidden = decoder.forward_many(segments)
    logits = torch.split(decoder.logits(torch.cat(hidden)), [len(rows) for rows in hidden])
    return [
        BatchOutput(rows.unsqueeze(0), decoder, head)
        for rows, head in zip(hidden, logits, strict=True)
    ]
