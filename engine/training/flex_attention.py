"""Attention among packed rows in one FlexAttention call (arXiv 2412.05496), for GPUs.

Same rule as the dense plan (`engine.training.rows.sees`), given to the kernel as a function, and a
coarse map of tiles in which anybody may see anybody, so that other tiles are never computed.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch.nn.attention.flex_attention import BlockMask, flex_attention

from engine.training.rows import CLEAN, Rows, mask_fields, sees

KeysAndValues = tuple[torch.Tensor, torch.Tensor]

TILE = 128
"""Rows per tile of the block mask. Rows are padded to whole tiles, so shapes seldom change."""

# torch compiles anew for sizes of one, so there are never fewer tiles than two.
_MIN_TILES = 2

_FAR = 2**31 - 1
_compiled: Callable[..., torch.Tensor] | None = None


class FlexPlan:
    """`attend` as `AttentionPlan` says. Compiled on CUDA; elsewhere torch's eager reference,
    which has no backward pass on a CPU."""

    def __init__(self, rows: Rows, memory: Rows | None) -> None:
        self._num_rows = rows.num_rows
        # Padding is a document of its own, numbered behind all others: tiles stay narrow.
        padding = rows.documents.max() + 1
        if memory is not None:
            padding = torch.maximum(padding, memory.documents.max() + 1)
        queries = _padded(rows, padding)
        keys = queries
        if memory is not None:
            keys = Rows.concatenate([_padded(memory, padding), queries])
        self._attention = _kernel(rows.ids.device)
        self.block_mask = block_mask(queries, keys)

    def attend(
        self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, old: KeysAndValues | None
    ) -> torch.Tensor:
        k, v = _whole_tiles(k), _whole_tiles(v)
        if old is not None:
            k, v = torch.cat((_whole_tiles(old[0]), k)), torch.cat((_whole_tiles(old[1]), v))
        out = self._attention(
            _heads_first(_whole_tiles(q)),
            _heads_first(k),
            _heads_first(v),
            block_mask=self.block_mask,
            enable_gqa=q.shape[1] != k.shape[1],
        )
        return out[0, :, : self._num_rows].transpose(0, 1).reshape(self._num_rows, -1)


def block_mask(queries: Rows, keys: Rows) -> BlockMask:
    """The mask of whole tiles of `queries` and `keys`: `sees`, and the tiles worth a look."""
    # 32 bits: the kernel loads these values for every pair of rows.
    query_fields = tuple(field.int() for field in mask_fields(queries))
    key_fields = tuple(field.int() for field in mask_fields(keys))

    def is_visible(
        batch: torch.Tensor, head: torch.Tensor, query: torch.Tensor, key: torch.Tensor
    ) -> torch.Tensor:
        return sees(
            tuple(field[query] for field in query_fields), tuple(field[key] for field in key_fields)
        )

    tiles = _tiles(queries, keys).int()
    # The tiles of a row in front, in their order; what stands behind their number is not read.
    order = tiles.argsort(dim=1, descending=True, stable=True).int()
    made: BlockMask = BlockMask.from_kv_blocks(
        tiles.sum(dim=1, dtype=torch.int32)[None, None],
        order[None, None],
        BLOCK_SIZE=TILE,
        mask_mod=is_visible,
        seq_lengths=(queries.num_rows, keys.num_rows),
    )
    return made


def _tiles(queries: Rows, keys: Rows) -> torch.Tensor:
    """bool (query tiles, key tiles): False only where no pair of rows can see each other.

    By the least and greatest values in each tile, so that the mask is never held row by row.
    """
    is_clean = keys.blocks == CLEAN
    document = _overlap(_ranges(queries.documents), _ranges(keys.documents))
    first_clean = _tiled(torch.where(is_clean, keys.positions, _FAR)).amin(dim=1)
    clean = first_clean[None] < _tiled(queries.contexts).amax(dim=1)[:, None]
    own = _overlap(_block_range(queries), _block_range(keys))
    return document & (clean | own)


def _block_range(rows: Rows) -> tuple[torch.Tensor, torch.Tensor]:
    """Least and greatest noisy block of each tile; an empty range where there is none."""
    least = torch.where(rows.blocks == CLEAN, _FAR, rows.blocks)
    return _tiled(least).amin(dim=1), _tiled(rows.blocks).amax(dim=1)


def _ranges(values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return _tiled(values).amin(dim=1), _tiled(values).amax(dim=1)


def _overlap(
    queries: tuple[torch.Tensor, torch.Tensor], keys: tuple[torch.Tensor, torch.Tensor]
) -> torch.Tensor:
    """bool (query tiles, key tiles): do the closed ranges meet?"""
    return (queries[0][:, None] <= keys[1][None]) & (keys[0][None] <= queries[1][:, None])


def _tiled(values: torch.Tensor) -> torch.Tensor:
    return values.view(-1, TILE)


def _padded(rows: Rows, document: torch.Tensor) -> Rows:
    """`rows` in whole tiles. The rows added belong to `document` and see each other, so that no
    row of the softmax is empty."""
    num = _num_padding(rows.num_rows)
    if not num:
        return rows
    zeros = torch.zeros(num, dtype=torch.int64, device=rows.ids.device)
    padding = Rows(zeros, zeros, zeros + document, zeros + CLEAN, zeros + 1, zeros)
    return Rows.concatenate([rows, padding])


def _num_padding(num_rows: int) -> int:
    return max(_MIN_TILES * TILE - num_rows, -num_rows % TILE)


def _whole_tiles(x: torch.Tensor) -> torch.Tensor:
    """(N, heads, D) with zero rows behind."""
    num = _num_padding(x.shape[0])
    return F.pad(x, (0, 0, 0, 0, 0, num)) if num else x


def _heads_first(x: torch.Tensor) -> torch.Tensor:
    """(N, heads, D) -> (1, heads, N, D)."""
    return x.transpose(0, 1)[None]


def _kernel(device: torch.device) -> Callable[..., torch.Tensor]:
    """Compiled once per process; a second shape makes torch compile it for all shapes."""
    global _compiled
    if device.type != "cuda":
        return flex_attention
    if _compiled is None:
        _compiled = torch.compile(flex_attention)
    return _compiled
