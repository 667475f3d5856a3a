"""Judge: how likely a causal model finds each token of a selection; for repairs.

The selection is read as what follows a prompt: with fill-in-the-middle tokens that prompt holds the
text on both sides; without them the first tokens of the suffix are judged along with it, so that a
change which does not lead to them costs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from engine.decoding.forward import Forward, Kind, Steps, row
from engine.infill.bench import Laid
from engine.kv_cache import KVCache
from engine.messages.repair import Span
from engine.prefix_cache import common_prefix_length
from engine.tokenizer import CodeTokenizer

# Suffix tokens judged along; more of them would drown the selection.
_NUM_TAIL_TOKENS = 8


@dataclass(slots=True)
class Judged:
    """A text and what is known of it. starts: index in `text` of the first character of each token
    (negative = typed characters that healing took back). logprobs: one per token, and then those
    of the tail; empty until `judge` has run."""

    text: str
    context: list[int]
    own: list[int]
    starts: list[int]
    tail: list[int]
    logprobs: list[float] = field(default_factory=list)

    @classmethod
    def of(cls, text: str, laid: Laid, tokenizer: CodeTokenizer) -> Judged:
        """`text` in the hole of `laid`."""
        healed = laid.prompt.need.decode("utf-8")
        starts = [start - len(healed) for start in tokenizer.token_starts(healed + text)]
        has_suffix = laid.route.method == "fim_tokens"
        tail = [] if has_suffix else laid.prompt.suffix_tokens[:_NUM_TAIL_TOKENS]
        own = tokenizer.encode(healed + text)
        return cls(text, laid.prompt.context, own, starts, list(tail))

    @property
    def tokens(self) -> list[int]:
        return [*self.context, *self.own, *self.tail]

    @property
    def score(self) -> float:
        """Mean log-probability per token; 0.0 of nothing."""
        return sum(self.logprobs) / len(self.logprobs) if self.logprobs else 0.0

    def ends(self) -> list[int]:
        """Index in `text` behind the last character of each token. Tokens may share one."""
        following = [*self.starts[1:], len(self.text)][: len(self.starts)]
        return [max(end, start + 1) for start, end in zip(self.starts, following, strict=True)]

    def overlapping(self, span: Span) -> range:
        """Indices of the tokens that share a character with `span`; none for an empty one."""
        pairs = zip(self.starts, self.ends(), strict=True)
        found = [at for at, (start, end) in enumerate(pairs) if start < span[1] and end > span[0]]
        return range(found[0], found[-1] + 1) if found and span[0] < span[1] else range(0)

    def confidence(self, span: Span) -> float:
        """Mean probability of the tokens of `span`; of the one behind it where it is empty."""
        found = list(self.overlapping(span))
        if not found:
            found = [at for at, start in enumerate(self.starts) if start >= span[0]][:1]
        chances = [math.exp(self.logprobs[at]) for at in found]
        return sum(chances) / len(chances) if chances else 1.0


def judge(judged: Judged, before: Judged | None, cache: KVCache, chunk_tokens: int) -> Steps[None]:
    """Fill in the log-probabilities; those that `before`, judged already, shares are taken over.

    One causal pass per chunk behind what `cache` holds already. Raises what is thrown in.
    """
    tokens, first = judged.tokens, len(judged.context)
    known: list[float] = []
    if before is not None and before.context == judged.context:
        num_same = common_prefix_length(before.tokens[first:], tokens[first:])
        known = before.logprobs[:num_same]
    # The row before a token tells its probability; the last token's own row is of no use.
    begin = min(common_prefix_length(cache.tokens, tokens), first + len(known) - 1)
    cache.crop(begin)
    found = list(known)
    for start in range(begin, len(tokens) - 1, chunk_tokens):
        chunk = tokens[start : min(start + chunk_tokens, len(tokens) - 1)]
        rows = [at for at in range(len(chunk)) if start + at + 1 >= first + len(found)]
        kind: Kind = "rank" if rows else "prefill"
        output = yield Forward(kind, row(chunk), "causal")
        cache.commit(chunk)
        if rows:
            wanted = [tokens[start + at + 1] for at in rows]
            found += _logprobs(output.logits(rows), wanted)
    judged.logprobs = found


def _logprobs(logits: torch.Tensor, tokens: Sequence[int]) -> list[float]:
    picked = torch.tensor(list(tokens), device=logits.device).unsqueeze(1)
    return torch.log_softmax(logits, dim=-1).gather(1, picked).squeeze(1).tolist()
