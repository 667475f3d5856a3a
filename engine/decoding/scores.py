"""Scores: what the head says of the rows of a pass, as logits or as a survey, whichever is wanted.

The head runs when it is first asked, once for all rows that belong together: on a CPU reading its
weights costs more than the rows do. A greedy choice needs the survey only, which a fused head
makes without writing logits.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from engine.models.decoder import Decoder
from engine.models.survey import Choosable, Survey, survey_of


class Head:
    """The head over hidden states (N, hidden) of one pass. Each answer is computed once."""

    def __init__(self, hidden: torch.Tensor, decoder: Decoder) -> None:
        self._hidden, self._decoder = hidden, decoder
        self._logits: torch.Tensor | None = None
        self._surveyed: tuple[Choosable, Survey] | None = None

    def logits(self) -> torch.Tensor:
        """fp32 (N, vocab_size), not to be changed."""
        if self._logits is None:
            self._logits = self._decoder.logits(self._hidden)
        return self._logits

    def keep(self) -> None:
        """To be called before the next pass by who may ask after it: what a pass left in buffers
        that the next one writes into is copied."""

    def survey(self, choosable: Choosable) -> Survey:
        """Of all N rows."""
        if self._surveyed is None or self._surveyed[0] is not choosable:
            self._surveyed = choosable, self._survey(choosable)
        return self._surveyed[1]

    def _survey(self, choosable: Choosable) -> Survey:
        if self._logits is None:
            return self._decoder.survey(self._hidden, choosable)
        return survey_of(self._logits, choosable)


class GivenLogits(Head):
    """The head's part where there are logits only."""

    def __init__(self, logits: torch.Tensor) -> None:
        self._logits, self._surveyed = logits, None


class Scores:
    """Some rows of a Head, in their order."""

    def __init__(self, head: Head, rows: Sequence[int]) -> None:
        self._head, self._rows = head, list(rows)

    @staticmethod
    def of(logits: torch.Tensor) -> Scores:
        """Of fp32 (N, vocab_size)."""
        return Scores(GivenLogits(logits), range(len(logits)))

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, rows: slice | Sequence[int]) -> Scores:
        if isinstance(rows, slice):
            return Scores(self._head, self._rows[rows])
        return Scores(self._head, [self._rows[at] for at in rows])

    def kept(self) -> Scores:
        """These, to be asked after the next pass, too."""
        self._head.keep()
        return self

    @property
    def logits(self) -> torch.Tensor:
        """fp32 (N, vocab_size), the caller's own to change."""
        return self._head.logits()[self._rows]

    def survey(self, choosable: Choosable) -> Survey:
        return self._head.survey(choosable).pick_rows(self._rows)
