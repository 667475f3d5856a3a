"""Forward: one model pass that a decoding mode asks for; Output: what it gets back.

Modes are generators that yield Forwards. They never touch the model, so the loop that runs them
can look at the cancel flag and the deadline, count, and switch requests between any two passes.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

import torch

from engine.kv_cache import KVCache
from engine.models.attention import causal_mask
from engine.models.decoder import Decoder

Kind = Literal["prefill", "ar", "draft", "verify", "denoise", "commit", "rank"]


@dataclass(frozen=True, slots=True)
class Forward:
    """ids int64 (R, T). view: ``causal``, ``full`` or bool (T, T) / (R, T, T), True = sees."""

    kind: Kind
    ids: torch.Tensor
    view: torch.Tensor | Literal["causal", "full"]
    offsets: torch.Tensor | None = None
    draft_adapter: bool = False


@dataclass(frozen=True, slots=True)
class Output:
    """Normed hidden states (R, T, hidden); the head runs only on the rows that are asked for."""

    hidden: torch.Tensor
    decoder: Decoder

    def logits(self, rows: slice | Sequence[int], of: int = 0) -> torch.Tensor:
        """fp32 (num_rows, vocab_size) for positions `rows` of candidate row `of`."""
        picked = self.hidden[of, rows if isinstance(rows, slice) else list(rows)]
        return self.decoder.logits(picked)


Result = TypeVar("Result")
Steps = Generator[Forward, Output, Result]


def row(tokens: Sequence[int], device: torch.device) -> torch.Tensor:
    """int64 (1, T)."""
    return torch.tensor([list(tokens)], dtype=torch.int64, device=device)


def visible_of(forward: Forward) -> torch.Tensor | None:
    """`forward.view` as the decoder wants it: bool (T, T) or (R, T, T); None = all see all."""
    if isinstance(forward.view, torch.Tensor):
        return forward.view
    if forward.view == "full":
        return None
    return causal_mask(forward.ids.shape[1], forward.ids.device)


def run_forward(forward: Forward, decoder: Decoder, cache: KVCache) -> Output:
    """Execute one Forward against `cache`. Keys and values stay scratch until committed."""
    R, T = forward.ids.shape
    hidden = decoder.forward(
        forward.ids,
        cache,
        visible=visible_of(forward),
        offsets=forward.offsets,
        draft_adapter=forward.draft_adapter,
    )
    return Output(hidden.view(R, T, -1), decoder)


def prefill(tokens: Sequence[int], cache: KVCache, chunk_tokens: int) -> Steps[torch.Tensor]:
    """Causal passes over `tokens` in chunks; returns fp32 (1, vocab_size) of the last token.

    A chunk is committed as soon as it is done, so a cancelled prefill keeps what it has paid for.
    """
    assert tokens
    output: Output | None = None
    for start in range(0, len(tokens), chunk_tokens):
        chunk = tokens[start : start + chunk_tokens]
        output = yield Forward("prefill", row(chunk, cache.device), "causal")
        cache.commit(chunk)
    assert output is not None
    return output.logits([output.hidden.shape[1] - 1])
