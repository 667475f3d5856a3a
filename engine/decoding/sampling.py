"""Choosing tokens from what the head says: greedy or sampled, never a token that is not text.

One Sampler per request; its generator is seeded once, so a request with a seed is repeatable.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import NamedTuple

import torch

from engine.decoding.scores import Scores
from engine.models.survey import Choosable, Survey


class Pick(NamedTuple):
    """Per row: the chosen token, its log-probability, whether the choice was a near tie, and the
    log-probability that the text ends there. log_mass: that of the ids that the choice was
    restricted to (0.0 = not restricted)."""

    tokens: list[int]
    logprobs: list[float]
    near_ties: list[bool]
    end_logprobs: list[float]
    log_mass: float = 0.0


class _Rows(NamedTuple):
    """Of unrestricted logits: logsumexp (N,), and as in Pick."""

    normaliser: torch.Tensor
    end_logprobs: list[float]
    log_mass: float


# Below this the law is the argmax, and dividing logits by it would overflow.
MIN_TEMPERATURE = 1e-4

# fp32 sums of other lengths differ by about this much; in lower precision the rounding of the
# logits themselves decides.
_FP32_TIE = 1e-4


class Sampler:
    """forbidden: bool (vocab_size,), True for ids that may never be chosen. end_ids: those that
    end the text. choosable: the same of both, shared by the samplers of an engine."""

    def __init__(
        self,
        *,
        forbidden: torch.Tensor,
        temperature: float,
        top_p: float,
        seed: int | None,
        dtype: torch.dtype,
        end_ids: Sequence[int] = (),
        choosable: Choosable | None = None,
    ) -> None:
        self.forbidden, self._end_ids = forbidden, list(end_ids)
        self._choosable = choosable
        self.temperature, self._top_p = temperature, top_p
        self._generator = torch.Generator(device=forbidden.device)
        if seed is not None:
            self._generator.manual_seed(seed % 2**63)
        else:
            self._generator.seed()
        self._tie = 0.0 if dtype == torch.float32 else torch.finfo(dtype).eps

    @property
    def is_greedy(self) -> bool:
        return self.temperature < MIN_TEMPERATURE

    def forbid(self, logits: torch.Tensor) -> torch.Tensor:
        """(N, V) -> (N, V) with forbidden ids at -inf, in place."""
        return logits.masked_fill_(self.forbidden, float("-inf"))

    def without_forbidden(self, logits: torch.Tensor) -> torch.Tensor:
        """A copy of (N, V) with forbidden ids at -inf."""
        return logits.masked_fill(self.forbidden, float("-inf"))

    @cached_property
    def choosable(self) -> Choosable:
        return self._choosable or Choosable.of(self.forbidden, self._end_ids)

    def pick(
        self, scores: Scores, allowed: list[int] | None = None, *, may_end: bool = True
    ) -> Pick:
        """Choose one token for each row; only among `allowed`, if given. Log-probabilities are
        those under the unrestricted logits. may_end: False = the first row's token is none of
        `end_ids`."""
        if allowed is None and may_end and self.is_greedy:
            return self.pick_surveyed(scores.survey(self.choosable))
        logits, row = self._restricted(scores.logits, allowed)
        if not may_end:
            logits[0, self._end_ids] = float("-inf")
        best = logits.max(dim=-1)
        tokens = best.indices if self.is_greedy else self._sample(logits)
        chosen = logits.gather(1, tokens.unsqueeze(1)).squeeze(1)
        runner_up = logits.scatter(1, best.indices.unsqueeze(1), float("-inf")).amax(dim=-1)
        gap = (best.values.abs() * self._tie).clamp_min(_FP32_TIE)
        near = (best.values - runner_up) < gap
        logprobs = (chosen - row.normaliser).tolist()
        return Pick(tokens.tolist(), logprobs, near.tolist(), row.end_logprobs, row.log_mass)

    def pick_surveyed(self, found: Survey) -> Pick:
        """What `pick` gives greedily without restrictions, of one look at the logits."""
        ends = found.end_normaliser - found.normaliser
        gap = (found.best.abs() * self._tie).clamp_min(_FP32_TIE)
        near = (found.best - found.second) < gap
        logprobs = found.best - found.normaliser
        return Pick(found.tokens.tolist(), logprobs.tolist(), near.tolist(), ends.tolist())

    def pick_nth(
        self,
        scores: Scores,
        rank: int,
        allowed: list[int] | None = None,
        *,
        may_end: bool = True,
    ) -> Pick | None:
        """The token of rank `rank` (0 = best) of one row, for alternatives; None when there are
        not so many. may_end: as in `pick`."""
        logits, row = self._restricted(scores.logits, allowed)
        if not may_end:
            logits[0, self._end_ids] = float("-inf")
        order = logits[0].topk(rank + 1)
        if order.values[rank] == float("-inf"):
            return None
        token, logprob = int(order.indices[rank]), float(order.values[rank] - row.normaliser[0])
        return Pick([token], [logprob], [False], row.end_logprobs, row.log_mass)

    def _restricted(
        self, logits: torch.Tensor, allowed: list[int] | None
    ) -> tuple[torch.Tensor, _Rows]:
        """`logits`, in place, with all but the choosable ids at -inf, and what was true before."""
        normaliser = torch.logsumexp(logits, dim=-1)
        ends = torch.logsumexp(logits[:, self._end_ids], dim=-1) - normaliser
        self.forbid(logits)
        log_mass = 0.0
        if allowed is not None:
            logits = _only(logits, allowed)
            log_mass = float((torch.logsumexp(logits, dim=-1) - normaliser)[0])
        return logits, _Rows(normaliser, ends.tolist(), log_mass)

    def perturbed(self, logits: torch.Tensor) -> torch.Tensor:
        """fp64 (N, V) whose argmax is a sample of each row (Gumbel-max); `logits` itself, with
        forbidden ids at -inf, when greedy. Temperature and top_p are those of the request."""
        closed = self.without_forbidden(logits)
        if self.is_greedy:
            return closed
        uniform = torch.rand(
            logits.shape, generator=self._generator, device=logits.device, dtype=torch.float64
        )
        gumbel = -torch.log(-torch.log(uniform.clamp(1e-300, 1.0 - 1e-16)))
        return self._probabilities(closed).log() + gumbel

    def _sample(self, logits: torch.Tensor) -> torch.Tensor:
        return torch.multinomial(self._probabilities(logits), 1, generator=self._generator).squeeze(
            1
        )

    def _probabilities(self, logits: torch.Tensor) -> torch.Tensor:
        """fp64 (N, V) after temperature and top_p."""
        probabilities = torch.softmax(logits.double() / self.temperature, dim=-1)
        return _nucleus(probabilities, self._top_p) if self._top_p < 1.0 else probabilities


def _only(logits: torch.Tensor, allowed: list[int]) -> torch.Tensor:
    closed = torch.ones(logits.shape[-1], dtype=torch.bool, device=logits.device)
    closed[allowed] = False
    return logits.masked_fill(closed, float("-inf"))


def _nucleus(probabilities: torch.Tensor, top_p: float) -> torch.Tensor:
    """Keep the smallest set of most likely tokens whose mass reaches `top_p` (arXiv 1904.09751)."""
    order = probabilities.sort(dim=-1, descending=True)
    before = order.values.cumsum(dim=-1) - order.values
    kept = order.values.masked_fill(before >= top_p, 0.0)
    return torch.zeros_like(probabilities).scatter(-1, order.indices, kept)
