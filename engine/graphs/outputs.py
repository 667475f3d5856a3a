"""What a static pass hands out: an Output whose survey is on the host already."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from engine.decoding.forward import Output
from engine.decoding.scores import Head, Scores
from engine.models.survey import Choosable, Survey

SurveyOf = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], Survey]


class StaticHead(Head):
    """logits (N, vocab_size) are the runner's, and hold until its next pass (is_over); whoever
    needs them later must `keep` them before. found: the survey with `choosable`, on the host."""

    def __init__(
        self, logits: torch.Tensor, found: Survey, choosable: Choosable, survey_of: SurveyOf
    ) -> None:
        self._static, self._found, self._choosable = logits, found, choosable
        self._survey_of = survey_of
        self._logits: torch.Tensor | None = None
        self._surveyed: tuple[Choosable, Survey] | None = None
        self.is_over = self._is_kept = False

    def logits(self) -> torch.Tensor:
        if self._logits is None:
            assert self._is_kept or not self.is_over, (
                "Kept before the next pass, they would be here."
            )
            # A copy in any case: it may be wanted when the next pass has begun.
            self._logits = self._static.to(torch.float32, copy=True)
        return self._logits

    def _survey(self, choosable: Choosable) -> Survey:
        if choosable is self._choosable:
            return self._found
        return self._survey_of(self.logits(), choosable.penalty, choosable.end_ids)

    def keep(self) -> None:
        if not self._is_kept:
            assert not self.is_over
            self._static, self._is_kept = self._static.clone(), True


@dataclass(frozen=True, slots=True)
class StaticOutput(Output):
    """hidden (R, T, hidden), without padding, holds until the runner's next pass. padded_length:
    tokens of a row in `head`."""

    head: StaticHead
    padded_length: int

    def scores(self, rows: slice | Sequence[int], of: int = 0) -> Scores:
        """See Output."""
        T = self.hidden.shape[1]
        first = of * self.padded_length
        return Scores(self.head, range(first, first + T))[rows]
