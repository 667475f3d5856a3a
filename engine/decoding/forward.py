"""Forward: one model pass that a decoding mode asks for; Output: what it gets back.

Modes are generators that yield Forwards. They never touch the model, so the loop that runs them
can look at the cancel flag and the deadline, count, and switch requests between any two passes.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeVar

import torch

from engine.decoding.scores import Head, Scores
from engine.kv_cache import KVCache
from engine.models.attention import causal_mask
from engine.models.decoder import Decoder

HOST = torch.device("cpu")
Kind = Literal["prefill", "ar", "draft", "verify", "denoise", "commit", "rank"]


@dataclass(frozen=True, slots=True)
class Forward:
    """ids int64 (R, T). view: ``causal``, ``full`` or bool (T, T) / (R, T, T), True = sees. Tensors
    may lie anywhere; those that modes make lie on the host, from where a pass fetches them all at
    once."""

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

    def scores(self, rows: slice | Sequence[int], of: int = 0) -> Scores:
        """What the head says of positions `rows` of candidate row `of`."""
        picked = self.hidden[of, rows if isinstance(rows, slice) else list(rows)]
        return Scores(Head(picked, self.decoder), range(len(picked)))

    def logits(self, rows: slice | Sequence[int], of: int = 0) -> torch.Tensor:
        """fp32 (num_rows, vocab_size), the caller's own to change."""
        return self.scores(rows, of).logits


Result = TypeVar("Result")
Steps = Generator[Forward, Output, Result]


def row(tokens: Sequence[int], device: torch.device = HOST) -> torch.Tensor:
    """int64 (1, T)."""
    return torch.tensor([list(tokens)], dtype=torch.int64, device=device)


def visible_of(forward: Forward) -> torch.Tensor | None:
    """`forward.view` as the decoder wants it: bool (T, T) or (R, T, T); None = all see all."""
    if isinstance(forward.view, torch.Tensor):
        return forward.view
    if forward.view == "full":
        return None
    return causal_mask(forward.ids.shape[1], forward.ids.device)


def brought_to(forward: Forward, device: torch.device) -> Forward:
    """The same with its tensors on `device`."""
    if forward.ids.device == device:
        return forward
    view, offsets = forward.view, forward.offsets
    return replace(
        forward,
        ids=forward.ids.to(device),
        view=view.to(device) if isinstance(view, torch.Tensor) else view,
        offsets=None if offsets is None else offsets.to(device),
    )


def run_forward(forward: Forward, decoder: Decoder, cache: KVCache) -> Output:
    """Execute one Forward against `cache`. Keys and values stay scratch until committed."""
    forward = brought_to(forward, decoder.device)
    R, T = forward.ids.shape
    hidden = decoder.forward(
        forward.ids,
        cache,
        visible=visible_of(forward),
        offsets=forward.offsets,
        draft_adapter=forward.draft_adapter,
    )
    return Output(hidden.view(R, T, -1), decoder)


def prefill(tokens: Sequence[int], cache: KVCache, chunk_tokens: int) -> Steps[Scores]:
    """Causal passes over `tokens` in chunks; returns the scores of the last token.

    A chunk is committed as soon as it is done, so a cancelled prefill keeps what it has paid for.
    """
    assert tokens
    output: Output | None = None
    for start in range(0, len(tokens), chunk_tokens):
        chunk = tokens[start : start + chunk_tokens]
        output = yield Forward("prefill", row(chunk), "causal")
        cache.commit(chunk)
    assert output is not None
    return output.scores([output.hidden.shape[1] - 1])
