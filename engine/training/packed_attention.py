"""Attention among packed rows: document by document on a CPU, one FlexAttention call on a GPU.

Both follow `engine.training.rows.visible`; the dense form is the reference of the other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F

from engine.training.rows import Rows, visible

KeysAndValues = tuple[torch.Tensor, torch.Tensor]


class AttentionPlan(Protocol):
    """Made once per batch, used in every layer."""

    def attend(
        self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, old: KeysAndValues | None
    ) -> torch.Tensor:
        """q (N, H, D); k, v (N, K, D); old: keys and values (M, K, D) of the memory rows.

        Returns (N, H * D).
        """
        ...


@dataclass(frozen=True, slots=True)
class _Document:
    """Rows [start, end) of the batch, [old_start, old_end) of the memory, and their mask."""

    start: int
    end: int
    old_start: int
    old_end: int
    seen: torch.Tensor


class DensePlan:
    """A boolean mask per document and torch's own attention."""

    def __init__(self, rows: Rows, memory: Rows | None) -> None:
        self._documents = []
        for number, (start, end) in _spans(rows).items():
            own = rows.part(start, end)
            old_start, old_end = (0, 0) if memory is None else _spans(memory).get(number, (0, 0))
            keys = (
                own if memory is None else Rows.concatenate([memory.part(old_start, old_end), own])
            )
            self._documents.append(_Document(start, end, old_start, old_end, visible(own, keys)))

    def attend(
        self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, old: KeysAndValues | None
    ) -> torch.Tensor:
        N, H, D = q.shape
        group = H // k.shape[1]
        parts = []
        for each in self._documents:
            own = slice(each.start, each.end)
            keys, values = k[own], v[own]
            if old is not None:
                before = slice(each.old_start, each.old_end)
                keys = torch.cat((old[0][before], keys))
                values = torch.cat((old[1][before], values))
            out = F.scaled_dot_product_attention(
                q[own].transpose(0, 1)[None],
                keys.repeat_interleave(group, dim=1).transpose(0, 1)[None],
                values.repeat_interleave(group, dim=1).transpose(0, 1)[None],
                attn_mask=each.seen[None, None],
            )
            parts.append(out[0].transpose(0, 1))
        return torch.cat(parts).reshape(N, H * D)


def plan_attention(rows: Rows, memory: Rows | None) -> AttentionPlan:
    """The plan for one batch, by the rows' device."""
    if rows.ids.is_cuda:
        # Imported here: it brings torch's compiler along, which a CPU has no use for.
        from engine.training.flex_attention import FlexPlan

        return FlexPlan(rows, memory)
    return DensePlan(rows, memory)


def _spans(rows: Rows) -> dict[int, tuple[int, int]]:
    """Start and end of each document; the rows of a document must be neighbours."""
    numbers, counts = torch.unique_consecutive(rows.documents, return_counts=True)
    ends = counts.cumsum(0).tolist()
    spans = {
        int(number): (end - int(count), end)
        for number, count, end in zip(numbers, counts, ends, strict=True)
    }
    assert len(spans) == len(ends), "the rows of a document must be neighbours"
    return spans
