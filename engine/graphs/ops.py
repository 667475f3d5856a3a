"""Ops: of which of its steps a static pass does the kernel, and of which the plain torch twin."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch

from engine.errors import EngineError
from engine.graphs import twins
from engine.graphs.inputs import CacheInputs, PassShape
from engine.kernels.twins import add_low_rank_twin, rms_norm_twin, swiglu_twin
from engine.models.decoder import Decoder
from engine.models.linear import Linear
from engine.models.survey import Survey, survey
from engine.quantised.weight import quantised_linear_twin

KERNELS = ("norm", "rope_store", "swiglu", "attention", "low_rank", "survey", "gemm")
# A graph is captured once and serves every cache: only these find it by its address.
NEEDED_FOR_GRAPHS = frozenset({"rope_store", "attention"})

RmsNorm = Callable[
    [torch.Tensor, torch.Tensor, float, torch.Tensor | None], tuple[torch.Tensor, torch.Tensor]
]
AddLowRank = Callable[
    [torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor], object
]


class RopeStore(Protocol):
    """See `twins.rope_store`."""

    def __call__(
        self,
        qkv: torch.Tensor,
        cos: torch.Tensor,
        sin: torch.Tensor,
        q_scale: torch.Tensor | None,
        at: CacheInputs,
        layer: int,
        new: tuple[torch.Tensor, torch.Tensor],
        num_heads: int,
    ) -> torch.Tensor: ...


class Attend(Protocol):
    """See `twins.attend_cached`."""

    def __call__(
        self,
        q: torch.Tensor,
        at: CacheInputs,
        layer: int,
        new: tuple[torch.Tensor, torch.Tensor],
        visible: torch.Tensor,
        num_splits: int,
    ) -> torch.Tensor: ...


@dataclass(slots=True)
class Ops:
    """kernels: the names of those that are kernels; the others are twins."""

    kernels: frozenset[str] = frozenset()
    norm: RmsNorm = rms_norm_twin
    swiglu: Callable[[torch.Tensor], torch.Tensor] = swiglu_twin
    low_rank: AddLowRank = add_low_rank_twin
    survey: Callable[[torch.Tensor, torch.Tensor, torch.Tensor], Survey] = survey
    rope_store: RopeStore = twins.rope_store
    attend: Attend = twins.attend_cached

    def product(self, linear: Linear, x: torch.Tensor) -> torch.Tensor:
        """`linear` without its adapter. The kernel for rounded weights is its own choice, if it is
        not switched off."""
        if linear.quantised is not None and "gemm" not in self.kernels:
            return quantised_linear_twin(x, linear.quantised, linear.bias, x.dtype)
        return linear(x)

    def num_splits(self, decoder: Decoder, shape: PassShape) -> int:
        """Parts that attention cuts the cached keys into."""
        if "attention" not in self.kernels:
            return 1
        from engine.kernels.attention import num_row_tiles, num_splits_for

        c = decoder.config
        tiles = num_row_tiles(shape.num_tokens, c.num_heads, c.num_kv_heads)
        return num_splits_for(
            shape.max_length, c.num_kv_heads, tiles, _num_processors(decoder.device)
        )

    @property
    def fits_graphs(self) -> bool:
        return self.kernels >= NEEDED_FOR_GRAPHS


def _num_processors(device: torch.device) -> int:
    if device.type != "cuda":
        return 1
    return int(torch.cuda.get_device_properties(device).multi_processor_count)


def parse_kernels(text: str) -> frozenset[str]:
    """``all``, ``none``, or names such as ``norm,attention``. Raises EngineError."""
    if text in ("all", "none"):
        return frozenset(KERNELS if text == "all" else ())
    names = [name.strip() for name in text.split(",")]
    unknown = [name for name in names if name not in KERNELS]
    if unknown:
        raise EngineError(
            f"Kernel {unknown[0]!r} is not known: use all, none, or some of {', '.join(KERNELS)}."
        )
    return frozenset(names)


def make_ops(names: frozenset[str]) -> Ops:
    """Ops with the kernels of `names`; only where `engine.kernels.problem` has none."""
    ops = Ops(names)
    if "norm" in names:
        from engine.kernels.norm import rms_norm

        ops.norm = rms_norm
    if "swiglu" in names:
        from engine.kernels.swiglu import swiglu

        ops.swiglu = swiglu
    if "low_rank" in names:
        from engine.kernels.low_rank import add_low_rank

        ops.low_rank = add_low_rank
    if "survey" in names:
        from engine.kernels.survey import survey as survey_kernel

        ops.survey = survey_kernel
    if "rope_store" in names:
        ops.rope_store = _rope_store_kernel()
    if "attention" in names:
        ops.attend = _attention_kernel()
    return ops


def _rope_store_kernel() -> RopeStore:
    from engine.kernels.rope import rope_store

    def store(
        qkv: torch.Tensor,
        cos: torch.Tensor,
        sin: torch.Tensor,
        q_scale: torch.Tensor | None,
        at: CacheInputs,
        layer: int,
        new: tuple[torch.Tensor, torch.Tensor],
        num_heads: int,
    ) -> torch.Tensor:
        return rope_store(
            qkv,
            cos,
            sin,
            q_scale,
            at.pointers,
            layer,
            at.length,
            at.head_stride,
            *new,
            num_heads,
            write_cache=new[0].shape[0] == 1,
        )

    return store


def _attention_kernel() -> Attend:
    from engine.kernels.attention import attend_split

    def attend(
        q: torch.Tensor,
        at: CacheInputs,
        layer: int,
        new: tuple[torch.Tensor, torch.Tensor],
        visible: torch.Tensor,
        num_splits: int,
    ) -> torch.Tensor:
        place = (at.pointers, layer, at.length, at.head_stride)
        return attend_split(q, *place, *new, visible, num_splits)

    return attend
