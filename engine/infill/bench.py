"""Bench: what tasks of several answers (fill, repair) work with, and the tally of those answers.

Made by `engine.engine.Engine`. A task opens an Answer for each hole, over a cache of its own,
and runs it like a single request's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from engine.decoding.loop import Meter, Passes
from engine.decoding.state import Speculation
from engine.infill.alternatives import Candidate
from engine.infill.answer import Answer, Tools
from engine.infill.hole import Hole
from engine.infill.line_ends import plain
from engine.infill.prompt import Prompt, PromptBuilder
from engine.infill.route import Route, choose_route
from engine.kv_cache import KVCache
from engine.messages.completion import CompletionRequest, Facts, FinishReason
from engine.prefix_cache import PrefixCache, common_prefix_length

INTERRUPTED: tuple[FinishReason, ...] = ("cancelled", "deadline")


class Laid(NamedTuple):
    """A request before anything is decoded."""

    hole: Hole
    route: Route
    prompt: Prompt


@dataclass(frozen=True, slots=True)
class Bench:
    """model_name: as answers name it. has_causal_adapter: see `choose_route`."""

    tools: Tools
    prompts: PromptBuilder
    prefix_cache: PrefixCache
    model_name: str
    has_causal_adapter: bool

    def lay_out(self, request: CompletionRequest) -> Laid:
        """How `request` is gone about. Its document has no part in it: tasks leave no anchors."""
        hole = Hole(plain(request.prompt), plain(request.suffix))
        route = choose_route(
            request.mode,
            hole,
            self.tools.decoder.config,
            has_draft_adapter=self.tools.decoder.has_draft_adapter,
            has_causal_adapter=self.has_causal_adapter,
        )
        return Laid(hole, route, self.prompts.build(hole, route, None))

    def answer(self, request: CompletionRequest, cache: KVCache) -> Answer:
        """`request`, to be decoded over `cache`, of which is kept what its prompt begins with."""
        hole, route, prompt = self.lay_out(request)
        crop_to(cache, prompt.context)
        return Answer(self.tools, request, hole, route, prompt, self.prefix_cache, cache)


def crop_to(cache: KVCache, tokens: list[int]) -> None:
    """Keep of `cache` what `tokens` begin with, short of the last one, whose logits are needed."""
    cache.crop(min(common_prefix_length(cache.tokens, tokens), max(len(tokens) - 1, 0)))


@dataclass(slots=True)
class Tally:
    """Of all answers of one task, for its Facts. The way is that of the last answer."""

    mode: str = "none"
    route: str = "none"
    reason: str = "Nothing was to be written."
    num_tokens: int = 0
    sum_logprobs: float = 0.0
    num_near_ties: int = 0
    speculation: Speculation = field(default_factory=Speculation)

    def decode(self, answer: Answer) -> Passes[Candidate | None]:
        """The best candidate of `answer`, tallied; None when there is none."""
        answer.speculation = self.speculation
        candidates = yield from answer.passes(lambda index, text: None)
        self.mode, self.route = answer.route.mode, answer.route.name
        self.reason = answer.route.reason
        for candidate in candidates:
            self.num_tokens += candidate.num_tokens
            self.sum_logprobs += (candidate.score or 0.0) * candidate.num_tokens
            self.num_near_ties += candidate.num_near_ties
        return candidates[0] if candidates else None

    def facts(self, meter: Meter, num_cached_tokens: int, timings_ms: Mapping[str, float]) -> Facts:
        return Facts(
            mode=self.mode,
            route=self.route,
            route_reason=self.reason,
            forwards=meter.num_forwards,
            prefill_forwards=meter.num_prefill,
            tokens=self.num_tokens,
            score=self.sum_logprobs / self.num_tokens if self.num_tokens else None,
            num_near_ties=self.num_near_ties,
            cached_tokens=num_cached_tokens,
            timings_ms={name: round(value, 2) for name, value in timings_ms.items()},
            num_cycles=self.speculation.num_cycles,
            num_drafted_tokens=self.speculation.num_drafted_tokens,
            num_accepted_tokens=self.speculation.num_accepted_tokens,
            num_hinted_tokens=self.speculation.num_hinted_tokens,
            num_right_hints=self.speculation.num_right_hints,
        )
