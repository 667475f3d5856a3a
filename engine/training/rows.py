"""Rows: the packed tokens of a training batch, and who sees whom among them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch

CLEAN = -1
"""`Rows.blocks` of a row that belongs to no noisy block."""


@dataclass(frozen=True, slots=True)
class Rows:
    """int64 (N,) each, on one device.

    documents: number of the document a row belongs to. blocks: number of its noisy block, unique
    in the batch, or CLEAN. contexts: how many clean tokens of its document the row sees (a clean
    row at position p: p + 1, its own token included). opens: 1 where a noisy row sees all of its
    block, 0 where only what is visible before it (see `visible`).
    """

    ids: torch.Tensor
    positions: torch.Tensor
    documents: torch.Tensor
    blocks: torch.Tensor
    contexts: torch.Tensor
    opens: torch.Tensor

    @property
    def num_rows(self) -> int:
        return self.ids.shape[0]

    @classmethod
    def concatenate(cls, parts: Sequence[Rows]) -> Rows:
        return cls(
            *(torch.cat([getattr(part, field.name) for part in parts]) for field in fields(cls))
        )

    def part(self, start: int, end: int) -> Rows:
        """Rows [start, end)."""
        return Rows(*(getattr(self, field.name)[start:end] for field in fields(self)))

    def to(self, device: torch.device) -> Rows:
        return Rows(*(getattr(self, field.name).to(device) for field in fields(self)))


def visible(queries: Rows, keys: Rows) -> torch.Tensor:
    """bool (num_queries, num_keys): the dual-stream mask.

    Nobody sees another document. Clean keys are seen up to the query's context. Inside a noisy
    block a query with `opens` = 1 sees the whole block; one with 0 sees the block's rows with
    `opens` = 0 at or before its own position. With adapter scope ``masks`` the masks open and the
    visible tokens do not, so these stay exactly the base model's; with scope ``block`` all open.
    """
    return sees(
        tuple(field[:, None] for field in mask_fields(queries)),
        tuple(field[None] for field in mask_fields(keys)),
    )


def mask_fields(rows: Rows) -> tuple[torch.Tensor, ...]:
    """What `sees` asks of a row, in its order."""
    return rows.documents, rows.blocks, rows.positions, rows.contexts, rows.opens


def sees(query: tuple[torch.Tensor, ...], key: tuple[torch.Tensor, ...]) -> torch.Tensor:
    """The rule of `visible`, element by element over `mask_fields` that broadcast."""
    document, block, position, context, opens = query
    key_document, key_block, key_position, _, key_opens = key
    clean = (key_block == CLEAN) & (key_position < context)
    own = (block == key_block) & (key_block != CLEAN)
    before = (key_opens == 0) & (key_position <= position)
    return (document == key_document) & (clean | (own & ((opens == 1) | before)))
