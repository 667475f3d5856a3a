"""Decoding: everything one candidate's decoding mode reads and writes besides the model.

Created by `engine.engine` per candidate; emitted tokens go through `emit`, which decides when to
stop, so that no forward is spent behind the end.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch

from engine.decoding.sampling import Pick, Sampler
from engine.decoding.scores import Scores
from engine.kv_cache import KVCache
from engine.messages.completion import FinishReason
from engine.models.config import ModelConfig


@dataclass(frozen=True, slots=True)
class DecodingParams:
    """Resolved settings of one request (see CompletionRequest); None is resolved per mode.
    max_block_size: what blocks may grow to while their drafts prove right; None = they do not, and
    every draft is verified however doubtful."""

    block_size: int
    max_tokens: int
    confidence_threshold: float | None = None
    max_denoising_steps: int | None = None
    max_block_size: int | None = None


@dataclass(slots=True)
class Speculation:
    """num_cycles: verify passes; of the tokens drafted for them, how many these agreed with. hinted
    and right: tokens of the request's own draft that were judged, in a prefill too."""

    num_cycles: int = 0
    num_drafted_tokens: int = 0
    num_accepted_tokens: int = 0
    num_hinted_tokens: int = 0
    num_right_hints: int = 0

    def add(self, num_drafted: int, num_accepted: int) -> None:
        self.num_cycles += 1
        self.num_drafted_tokens += num_drafted
        self.num_accepted_tokens += num_accepted


@dataclass(slots=True)
class Decoding:
    """stop: looks at all emitted text tokens and says whether the text is complete.

    draft: tokens believed, but not emitted, to follow the emitted ones: what a deadline may add.
    num_uncounted_tokens: emitted tokens that spell what stood there before (token healing).
    log_masses: per emitted token of those, the log-probability of what it was restricted to.
    first_index: of the first token that writes new text; None while healing, and where one token
    spells both. first_end_logprob: that there is none, judged before it; above
    max_first_end_logprob the text is withheld (is_withheld) and ends there. owes_text: the first
    new token must be text, whatever the model would rather do.
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
    log_masses: list[float] = field(default_factory=list)
    first_index: int | None = 0
    first_end_logprob: float | None = None
    max_first_end_logprob: float | None = None
    is_withheld: bool = False
    owes_text: bool = False
    speculation: Speculation = field(default_factory=Speculation)
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

    @property
    def may_end(self) -> bool:
        """Whether the next token may be an end token."""
        return not self.owes_text or len(self.tokens) != self.first_index

    def pick(self, scores: Scores, allowed: list[int] | None = None) -> Pick:
        """`Sampler.pick` for the tokens that come next."""
        return self.sampler.pick(scores, allowed, may_end=self.may_end)

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
        if len(self.tokens) == self.first_index:
            self.first_end_logprob = pick.end_logprobs[0]
            limit = self.max_first_end_logprob
            is_end = pick.tokens[0] in self.config.eos_token_ids
            if limit is not None and self.first_end_logprob > limit and not is_end:
                self.is_withheld, self.finish_reason = True, "stop"
                return True
        self.num_near_ties += sum(pick.near_ties[:num_rows])
        return self.emit(pick.tokens[:num_rows], pick.logprobs[:num_rows])
