"""A model pass over int8 layers: norms, products, rotation and attention in the native kernels.

The slow twin is `Decoder.forward` over the same layers with torch's operations in between. The
residual stream is fp32 throughout, and no row's result depends on the rows beside it: a token that
is verified in a block gets the logits, bit for bit, that it gets alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch

from engine.models.config import ModelConfig
from engine.models.linear import Linear
from engine.models.rotary import RotaryTable
from engine.native import library
from engine.native.weight import Int8LowRank

if TYPE_CHECKING:
    from engine.models.decoder import Layer, Segment

_Rows = torch.Tensor | slice | None


@dataclass(frozen=True, slots=True)
class _NativeLayer:
    """A layer with its norms in fp32."""

    layer: Layer
    input_norm: torch.Tensor
    post_norm: torch.Tensor


@dataclass(slots=True)
class _Buffers:
    """fp32 (N, width) each, of one pass."""

    qkv: torch.Tensor
    attended: torch.Tensor
    gate_up: torch.Tensor


class NativePass:
    """Runs the layers of one decoder; `fits` says whether it can."""

    def __init__(
        self, config: ModelConfig, layers: Sequence[Layer], norm: torch.Tensor, dtype: torch.dtype
    ) -> None:
        self._config, self._dtype, self._norm = config, dtype, norm.float()
        self._layers = [
            _NativeLayer(layer, layer.input_norm.float(), layer.post_norm.float())
            for layer in layers
        ]
        self._rotary = RotaryTable(config, torch.device("cpu"), torch.float32)

    @staticmethod
    def fits(config: ModelConfig, layers: Sequence[Layer]) -> bool:
        """Whether every layer is int8 and the heads have a width that the kernels know."""
        linears = [
            linear
            for layer in layers
            for linear in (layer.qkv, layer.out, layer.gate_up, layer.down)
        ]
        return library.fits_head(config.head_dim) and all(each.int8 for each in linears)

    def run(
        self,
        x: torch.Tensor,
        positions: torch.Tensor,
        segments: Sequence[Segment],
        rows: _Rows,
        before_layer: Callable[[], None] = lambda: None,
    ) -> torch.Tensor:
        """Normed hidden states (N, hidden) for embedded tokens x (N, hidden) at `positions` int64
        (N,), the tokens of `segments` in their order. rows: see Linear. The caches must have room.
        What `before_layer` raises ends the pass.
        """
        x = x.to(torch.float32, copy=True)
        self._rotary.reserve(int(positions.max()) + 1)
        cos, sin = (each.squeeze(1) for each in self._rotary.lookup(positions))
        scale = self._rotary.query_scale(positions)
        scale = None if scale is None else scale.reshape(-1)
        buffers = self._buffers(x.shape[0])
        for index, native in enumerate(self._layers):
            before_layer()
            layer, eps = native.layer, self._config.norm_eps
            self._apply(layer.qkv, x, buffers.qkv, rows, before=(native.input_norm, eps))
            self._attend(index, buffers, (cos, sin), scale, segments)
            self._apply(layer.out, buffers.attended, x, rows, add=True)
            self._apply(layer.gate_up, x, buffers.gate_up, rows, before=(native.post_norm, eps))
            self._apply(layer.down, buffers.gate_up, x, rows, add=True, before="silu")
        normed = torch.nn.functional.rms_norm(x, (x.shape[1],), self._norm, self._config.norm_eps)
        return normed.to(self._dtype)

    def _apply(
        self,
        linear: Linear,
        x: torch.Tensor,
        out: torch.Tensor,
        rows: _Rows,
        *,
        add: bool = False,
        before: tuple[torch.Tensor, float] | Literal["silu"] | None = None,
    ) -> None:
        weight = linear.int8
        assert weight is not None
        pair, kept, adapter = linear.adapter, None, None
        if isinstance(rows, slice) and isinstance(pair, Int8LowRank):
            adapter = (pair.down.packed, pair.up.packed, rows)
        elif rows is not None and pair is not None:
            kept = torch.empty(len(x), weight.num_inputs)
        library.linear(
            x,
            weight.packed,
            linear.bias,
            out,
            add=add,
            before=before,
            keep_input=kept,
            adapter=adapter,
        )
        if kept is not None and rows is not None:
            linear.add_adapter(kept, rows, out)

    def _attend(
        self,
        layer: int,
        buffers: _Buffers,
        angles: tuple[torch.Tensor, torch.Tensor],
        scale: torch.Tensor | None,
        segments: Sequence[Segment],
    ) -> None:
        start = 0
        for segment in segments:
            part = slice(start, start + segment.ids.shape[1])
            library.attention(
                buffers.qkv[part],
                (angles[0][part], angles[1][part]),
                None if scale is None else scale[part],
                segment.cache.buffers(layer),
                segment.cache.length,
                segment.visible,
                buffers.attended[part],
            )
            start = part.stop

    def _buffers(self, num_rows: int) -> _Buffers:
        c = self._config
        widths = (
            (c.num_heads + 2 * c.num_kv_heads) * c.head_dim,
            c.num_heads * c.head_dim,
            2 * c.intermediate_size,
        )
        return _Buffers(*(torch.empty(num_rows, width) for width in widths))
