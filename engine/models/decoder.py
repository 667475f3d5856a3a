"""The decoder: embedding, layers, final norm and head, over a KVCache.

Llama-type blocks (RMSNorm, rotary positions, grouped-query attention, SwiGLU). One implementation
serves the Nemotron-Labs-Diffusion and the Qwen2 families; their differences are ModelConfig fields.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F

from engine.errors import PassAbandoned
from engine.kv_cache import KVCache
from engine.models.attention import attend
from engine.models.config import ModelConfig
from engine.models.linear import Linear
from engine.models.rotary import RotaryTable, rotate
from engine.models.survey import Choosable, Survey, survey_of

if TYPE_CHECKING:
    from engine.native.passes import NativePass


@dataclass(slots=True)
class Layer:
    """Weights of one block; q, k, v and gate, up are fused row-wise."""

    input_norm: torch.Tensor
    qkv: Linear
    out: Linear
    post_norm: torch.Tensor
    gate_up: Linear
    down: Linear


@dataclass(frozen=True, slots=True)
class Segment:
    """One sequence's part of a pass over several: its own cache, view and positions. ids int64
    (1, T); visible bool (T, T) and the rest as in `Decoder.forward`."""

    ids: torch.Tensor
    cache: KVCache
    visible: torch.Tensor | None
    offsets: torch.Tensor | None = None
    draft_adapter: bool = False


# (layer, q (N, H, D), k and v (N, K, D)) -> attended (N, H * D)
_Attention = Callable[[int, torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]


def _never() -> bool:
    return False


@dataclass(slots=True)
class Decoder:
    """mask_embedding (hidden,) stands in for the embedding row of the mask token. native: does the
    passes of one row per sequence where the layers are int8. is_unwanted: asked before each layer
    where that costs nothing (on a CPU); once it says yes, the pass ends with PassAbandoned, and has
    changed no committed keys or values."""

    config: ModelConfig
    embedding: torch.Tensor
    layers: list[Layer]
    norm: torch.Tensor
    head: Linear
    mask_embedding: torch.Tensor
    rotary: RotaryTable
    device: torch.device
    dtype: torch.dtype
    has_draft_adapter: bool = False
    native: NativePass | None = None
    is_unwanted: Callable[[], bool] = _never

    @property
    def weights(self) -> str:
        """What the layers are rounded to, ``int8``, ``int4`` or ``fp8``, else the dtype's name."""
        kinds = (layer.down.kind for layer in self.layers)
        return next(filter(None, kinds), str(self.dtype).removeprefix("torch."))

    def new_cache(self) -> KVCache:
        return KVCache(self.config, self.device, self.dtype)

    def forward(
        self,
        ids: torch.Tensor,
        cache: KVCache,
        *,
        visible: torch.Tensor | None,
        offsets: torch.Tensor | None = None,
        draft_adapter: bool = False,
    ) -> torch.Tensor:
        """One pass over R rows of T new tokens that share the cached prefix.

        ids int64 (R, T); visible as in `attend`; offsets int64 (T,) or (R, T): positions relative
        to the cached length (default 0..T-1). With R = 1 keys and values are left as scratch in
        the cache. Returns normed hidden states (R * T, hidden); `logits` maps them.
        """
        R, T = ids.shape
        if self.native is not None and R == 1:
            segment = Segment(ids, cache, visible, offsets, draft_adapter)
            return self.forward_many([segment])[0]
        flat = ids.reshape(-1)
        if offsets is None:
            offsets = torch.arange(T, device=ids.device)
        positions = (offsets.expand(R, T) + cache.length).reshape(-1)
        is_mask = flat == self.config.mask_token_id
        rows = self._adapter_rows(is_mask) if draft_adapter and self.has_draft_adapter else None
        if R == 1:
            cache.reserve(T)

        def attention(
            layer: int, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor
        ) -> torch.Tensor:
            keys, values = self._with_cache(cache, layer, k, v, R)
            return attend(q.view(R, T, *q.shape[1:]), keys, values, visible).view(R * T, -1)

        return self._through_layers(flat, positions, is_mask, rows, attention)

    def forward_many(self, segments: Sequence[Segment]) -> list[torch.Tensor]:
        """`forward` for each of `segments`, whose caches must be different ones, in one pass.

        Every weight is read once for all of them; only attention runs one by one. Returns
        normed hidden states (T, hidden) of each.
        """
        assert len({id(segment.cache) for segment in segments}) == len(segments)
        lengths = [segment.ids.shape[1] for segment in segments]
        flat = torch.cat([segment.ids[0] for segment in segments])
        positions = torch.cat([_positions(segment) for segment in segments])
        is_mask = flat == self.config.mask_token_id
        for segment, length in zip(segments, lengths, strict=True):
            segment.cache.reserve(length)

        def attention(
            layer: int, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor
        ) -> torch.Tensor:
            parts = [torch.split(each, lengths) for each in (q, k, v)]
            return torch.cat(
                [self._attended(layer, *part) for part in zip(segments, *parts, strict=True)]
            )

        rows = self._rows_of_many(segments, lengths, is_mask)
        if self.native is not None:
            embedded = self._embedded(flat, is_mask)
            hidden = self.native.run(embedded, positions, segments, rows, self.check_wanted)
        else:
            hidden = self._through_layers(flat, positions, is_mask, rows, attention)
        return list(torch.split(hidden, lengths))

    def _attended(
        self, layer: int, segment: Segment, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor
    ) -> torch.Tensor:
        keys, values = segment.cache.write(layer, k.transpose(0, 1), v.transpose(0, 1))
        found = attend(q.unsqueeze(0), keys.unsqueeze(0), values.unsqueeze(0), segment.visible)
        return found.squeeze(0)

    def _rows_of_many(
        self, segments: Sequence[Segment], lengths: Sequence[int], is_mask: torch.Tensor
    ) -> torch.Tensor | slice | None:
        """Where the adapter acts; segments without it have no such rows."""
        if not self.has_draft_adapter or not any(segment.draft_adapter for segment in segments):
            return None
        if all(segment.draft_adapter for segment in segments):
            return self._adapter_rows(is_mask)
        wanted = torch.cat(
            [
                torch.full((length,), segment.draft_adapter, device=is_mask.device)
                for segment, length in zip(segments, lengths, strict=True)
            ]
        )
        if self.config.adapter_scope == "block":
            return wanted.nonzero().squeeze(1)
        return self._adapter_rows(is_mask & wanted)

    def _through_layers(
        self,
        flat: torch.Tensor,
        positions: torch.Tensor,
        is_mask: torch.Tensor,
        rows: torch.Tensor | slice | None,
        attention: _Attention,
    ) -> torch.Tensor:
        """Normed hidden states (N, hidden) of N tokens at `positions`; rows: see Linear."""
        self.rotary.reserve(int(positions.max()) + 1)
        cos, sin = self.rotary.lookup(positions)
        scale = self.rotary.query_scale(positions)
        x = self._embedded(flat, is_mask)
        for index, layer in enumerate(self.layers):
            self.check_wanted()
            h = self._normed(x, layer.input_norm)
            attended = attention(index, *self._heads(layer.qkv(h, rows), cos, sin, scale))
            x = x + layer.out(attended, rows)
            gate, up = layer.gate_up(self._normed(x, layer.post_norm), rows).chunk(2, dim=-1)
            x = x + layer.down(F.silu(gate) * up, rows)
        return self._normed(x, self.norm)

    @contextmanager
    def abandoned_when(self, is_unwanted: Callable[[], bool]) -> Iterator[None]:
        """Passes made in here end with PassAbandoned once `is_unwanted` says so."""
        self.is_unwanted = is_unwanted
        try:
            yield
        finally:
            self.is_unwanted = _never

    def check_wanted(self) -> None:
        """Raises PassAbandoned."""
        if self.device.type == "cpu" and self.is_unwanted():
            raise PassAbandoned

    def _embedded(self, flat: torch.Tensor, is_mask: torch.Tensor) -> torch.Tensor:
        """(N, hidden)."""
        x = F.embedding(flat, self.embedding)
        return torch.where(is_mask.unsqueeze(1), self.mask_embedding, x)

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """(N, hidden) -> fp32 (N, vocab_size)."""
        return self.head.in_float(hidden)

    def survey(self, hidden: torch.Tensor, choosable: Choosable) -> Survey:
        """(N, hidden) -> what a greedy choice needs of the logits; these are written out where no
        fused head makes it without them."""
        int8 = self.head.int8
        if int8 is not None and self.head.bias is None:
            return int8.survey(hidden, choosable)
        return survey_of(self.logits(hidden), choosable)

    def _normed(self, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        return F.rms_norm(x, (x.shape[-1],), weight, self.config.norm_eps)

    def _adapter_rows(self, is_mask: torch.Tensor) -> torch.Tensor | slice | None:
        """Where the adapter acts; a slice, which costs no copy, where the rows are one run."""
        if self.config.adapter_scope == "block":
            return slice(None)
        rows = is_mask.nonzero().squeeze(1)
        if not len(rows):
            return None
        first, last = int(rows[0]), int(rows[-1])
        return slice(first, last + 1) if last - first + 1 == len(rows) else rows

    def _heads(
        self, qkv: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, scale: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Split (N, (H + 2 K) * D) into rotated q (N, H, D), rotated k and v (N, K, D)."""
        c = self.config
        split = qkv.view(qkv.shape[0], c.num_heads + 2 * c.num_kv_heads, c.head_dim)
        q, k, v = torch.split(split, [c.num_heads, c.num_kv_heads, c.num_kv_heads], dim=1)
        q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        return (q if scale is None else q * scale), k, v

    def _with_cache(
        self, cache: KVCache, layer: int, k: torch.Tensor, v: torch.Tensor, R: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Cached and new keys and values (R, K, L, D)."""
        if R == 1:
            keys, values = cache.write(layer, k.transpose(0, 1), v.transpose(0, 1))
            return keys.unsqueeze(0), values.unsqueeze(0)
        # Candidate rows are thrown away after ranking, so they never enter the cache.
        new = [t.view(R, -1, *t.shape[1:]).transpose(1, 2) for t in (k, v)]
        old = [t.unsqueeze(0).expand(R, -1, -1, -1) for t in cache.committed(layer)]
        return torch.cat((old[0], new[0]), dim=2), torch.cat((old[1], new[1]), dim=2)


def _positions(segment: Segment) -> torch.Tensor:
    """int64 (T,)."""
    ids, offsets = segment.ids, segment.offsets
    offsets = torch.arange(ids.shape[1], device=ids.device) if offsets is None else offsets
    return offsets.reshape(-1) + segment.cache.length
