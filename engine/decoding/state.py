"""Decoding: everything one candidate's decoding mode reads and writes besides the model.

Created by `engine.engine` per candidate; emitted tokens go through `emit`, which decides when to
stop, so that no forward is spent behind the end.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch

from engine.decoding.sampling import Pick, Sampler
from engine.kv_cache import KVCache
from engine.messages.completion import FinishReason
from engine.models.config import ModelConfig


@dataclass(frozen=True, slots=True)
class DecodingParams:
    """Resolved settings of one request (see CompletionRequest); None is resolved per mode."""

    block_size: int
    max_tokens: int
    confidence_threshold: float | None = None
    max_denoising_steps: int | None = None


@dataclass(slots=True)
class Decoding:
    """stop: looks at all emitted text tokens and says whether the text is complete.

    draft: tokens believed, but not emitted, to follow the emitted ones: what a deadline may add.
    num_uncounted_tokens: emitted tokens that spell what stood there before (token healing).
    """

    config: ModelConfig
    cache: KVCache
    sampler: Sampler
    params: DecodingParams
    stop: Callable[[Sequence[int]], bool] = lambda tokens: False
    tokens: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    draft: list[int] = field(default_factory=list)
    num_near_ties: int = 0
    num_uncounted_tokens: int = 0
    finish_reason: FinishReason | None = None

    @property
    def device(self) -> torch.device:
        return self.cache.device

    @property
    def num_remaining_tokens(self) -> int:
        return self.params.max_tokens + self.num_uncounted_tokens - len(self.tokens)

    @property
    def is_finished(self) -> bool:
        return self.finish_reason is not None

    def emit(self, tokens: Sequence[int], logprobs: Sequence[float]) -> bool:
        """Append tokens one by one up to the first that ends the text. Returns `is_finished`."""
        self.draft = []
        for token, logprob in zip(tokens, logprobs, strict=True):
            if self.is_finished:
                break
            if token in self.config.eos_token_ids:
                self.logprobs.append(logprob)
                self.finish_reason = "stop"
                break
            self.tokens.append(token)
            self.logprobs.append(logprob)
            if self.stop(self.tokens):
                self.finish_reason = "stop"
            elif self.num_remaining_tokens <= 0:
                self.finish_reason = "length"
        return self.is_finished

    def emit_pick(self, pick: Pick, num_rows: int = 1) -> bool:
        """`emit` for the first `num_rows` rows of a causal pick."""
        self.num_near_ties += sum(pick.near_ties[:num_rows])
        return self.emit(pick.tokens[:num_rows], pick.logprobs[:num_rows])
