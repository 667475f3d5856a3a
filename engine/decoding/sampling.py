"""Choosing tokens from causal logits: greedy or sampled, never a token that is not text.

One Sampler per request; its generator is seeded once, so a request with a seed is repeatable.
"""

from __future__ import annotations

from typing import NamedTuple

import torch


class Pick(NamedTuple):
    """Per row: the chosen token, its log-probability, and whether the choice was a near tie."""

    tokens: list[int]
    logprobs: list[float]
    near_ties: list[bool]


# fp32 sums of other lengths differ by about this much; in lower precision the rounding of the
# logits themselves decides.
_FP32_TIE = 1e-4


class Sampler:
    """forbidden: bool (vocab_size,), True for ids that may never be chosen."""

    def __init__(
        self,
        *,
        forbidden: torch.Tensor,
        temperature: float,
        top_p: float,
        seed: int | None,
        dtype: torch.dtype,
    ) -> None:
        self.forbidden = forbidden
        self.temperature, self._top_p = temperature, top_p
        self._generator = torch.Generator(device=forbidden.device)
        if seed is not None:
            self._generator.manual_seed(seed % 2**63)
        else:
            self._generator.seed()
        self._tie = 0.0 if dtype == torch.float32 else torch.finfo(dtype).eps

    @property
    def is_greedy(self) -> bool:
        return self.temperature == 0.0

    def forbid(self, logits: torch.Tensor) -> torch.Tensor:
        """(N, V) -> (N, V) with forbidden ids at -inf, in place."""
        return logits.masked_fill_(self.forbidden, float("-inf"))

    def pick(self, logits: torch.Tensor) -> Pick:
        """Choose from fp32 (N, V), each row by itself. Changes `logits`."""
        normaliser = torch.logsumexp(logits, dim=-1)
        self.forbid(logits)
        best = logits.max(dim=-1)
        tokens = best.indices if self.is_greedy else self._sample(logits)
        chosen = logits.gather(1, tokens.unsqueeze(1)).squeeze(1)
        runner_up = logits.scatter(1, best.indices.unsqueeze(1), float("-inf")).amax(dim=-1)
        gap = (best.values.abs() * self._tie).clamp_min(_FP32_TIE)
        near = (best.values - runner_up) < gap
        return Pick(tokens.tolist(), (chosen - normaliser).tolist(), near.tolist())

    def pick_among(self, logits: torch.Tensor, allowed: list[int]) -> Pick:
        """`pick` for one row (1, V), restricted to the ids in `allowed`."""
        closed = torch.ones_like(logits, dtype=torch.bool)
        closed[0, allowed] = False
        return self.pick(logits.masked_fill(closed, float("-inf")))

    def pick_nth(self, logits: torch.Tensor, rank: int) -> Pick:
        """The token of rank `rank` (0 = best) of one row (1, V), for alternatives."""
        self.forbid(logits)
        order = logits[0].topk(rank + 1)
        logprob = order.values[rank] - torch.logsumexp(logits[0], dim=-1)
        return Pick([int(order.indices[rank])], [float(logprob)], [False])

    def gumbel(self, shape: torch.Size, device: torch.device) -> torch.Tensor:
        """fp64 Gumbel noise, for sampling by argmax at masked positions."""
        uniform = torch.rand(shape, generator=self._generator, device=device, dtype=torch.float64)
        return -torch.log(-torch.log(uniform.clamp(1e-300, 1.0 - 1e-16)))

    def _sample(self, logits: torch.Tensor) -> torch.Tensor:
        probabilities = torch.softmax(logits.double() / self.temperature, dim=-1)
        if self._top_p < 1.0:
            probabilities = _nucleus(probabilities, self._top_p)
        return torch.multinomial(probabilities, 1, generator=self._generator).squeeze(1)


def _nucleus(probabilities: torch.Tensor, top_p: float) -> torch.Tensor:
    """Keep the smallest set of most likely tokens whose mass reaches `top_p` (arXiv 1904.09751)."""
    order = probabilities.sort(dim=-1, descending=True)
    before = order.values.cumsum(dim=-1) - order.values
    kept = order.values.masked_fill(before >= top_p, 0.0)
    return torch.zeros_like(probabilities).scatter(-1, order.indices, kept)
