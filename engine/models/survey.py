"""What one look at logits tells: all that a greedy choice needs, without probabilities.

Made by the fused heads of `engine.native` and of a GPU, or by `survey`, their slow twin.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch

from engine import native


@dataclass(frozen=True, slots=True, eq=False)
class Choosable:
    """Which ids a greedy choice may take, and which of them end the text; one object for all
    requests of an engine that choose from the same ids, so that what is computed for it is shared.

    penalty fp32 (vocab_size,): 0 for ids that may be chosen, else minus infinity; end_ids int64
    (E,); both on the device of the logits. is_forbidden bool (vocab_size,): on the host, where
    asking about a few ids waits for no device.
    """

    penalty: torch.Tensor
    end_ids: torch.Tensor
    is_forbidden: torch.Tensor

    @staticmethod
    def of(forbidden: torch.Tensor, end_ids: Sequence[int]) -> Choosable:
        """forbidden: bool (vocab_size,)."""
        penalty = torch.zeros(forbidden.shape, device=forbidden.device)
        penalty.masked_fill_(forbidden, float("-inf"))
        ends = torch.tensor(list(end_ids), dtype=torch.int64, device=forbidden.device)
        return Choosable(penalty, ends, forbidden.cpu())


class Survey(NamedTuple):
    """Of N rows of logits, each (N,): the best token that may be chosen (int64; of equal ones the
    first), its logit, the best logit of the other tokens that may be chosen, and the logarithm of
    the sum of the exponentials of all logits, and of those of the tokens that end the text (all
    fp32)."""

    tokens: torch.Tensor
    best: torch.Tensor
    second: torch.Tensor
    normaliser: torch.Tensor
    end_normaliser: torch.Tensor

    def pick_rows(self, rows: slice | list[int]) -> Survey:
        """The same of some of the rows."""
        return Survey(*(each[rows] for each in self))


def survey(logits: torch.Tensor, penalty: torch.Tensor, end_ids: torch.Tensor) -> Survey:
    """logits (N, V); penalty and end_ids as in Choosable. Without any end id the normaliser of the
    ends is minus infinity."""
    logits = logits.float()
    opened = logits + penalty
    best = opened.max(dim=-1)
    others = opened.scatter(1, best.indices.unsqueeze(1), float("-inf"))
    return Survey(
        best.indices,
        best.values,
        others.amax(dim=-1),
        torch.logsumexp(logits, dim=-1),
        torch.logsumexp(logits[:, end_ids], dim=-1),
    )


def survey_of(logits: torch.Tensor, choosable: Choosable) -> Survey:
    """`survey`, by the native kernels where they are in use."""
    penalty, end_ids = choosable.penalty, choosable.end_ids
    if native.is_in_use():
        from engine.native import library

        if library.fits_survey(logits):
            return library.survey(logits, penalty, end_ids)
    return survey(logits, penalty, end_ids)
