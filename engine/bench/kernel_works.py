"""Every kernel of `engine.kernels` and its torch twin, on operands of a model's shape.

Imports triton: read it only where `engine.kernels.problem` is None.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from engine.bench.costs import Work
from engine.kernels.attention import (
    attend_split,
    attend_split_twin,
    num_row_tiles,
    num_splits_for,
)
from engine.kernels.gemm import quantised_linear
from engine.kernels.low_rank import add_low_rank
from engine.kernels.norm import rms_norm
from engine.kernels.rope import rope_store
from engine.kernels.survey import survey, threshold_commit, threshold_commit_twin
from engine.kernels.swiglu import swiglu
from engine.kernels.twins import add_low_rank_twin, rms_norm_twin, rope_store_twin, swiglu_twin
from engine.models.config import ModelConfig
from engine.models.survey import survey as survey_twin
from engine.quantised.rounding import KINDS, Kind
from engine.quantised.weight import QuantisedWeight

Call = Callable[[], Sequence[torch.Tensor]]


@dataclass(frozen=True, slots=True)
class KernelWork:
    """One call of a kernel and of its twin, which return what they are compared by. is_cold: what
    it reads (weights, the cache) lies in memory, not in the chip's cache, when a pass comes to it.
    twin_syncs: the twin copies to the host, so that no CUDA graph can hold it."""

    kernel: str
    run: Call
    twin: Call
    work: Work
    is_cold: bool = False
    twin_syncs: bool = False


@dataclass(slots=True)
class Operands:
    """Draws operands of `config` for N new tokens, in bfloat16, over `cached` ones. rank: of the
    draft adapter."""

    config: ModelConfig
    rank: int
    num_tokens: int
    cached: int
    device: torch.device
    generator: torch.Generator

    def draw(self, *shape: int) -> torch.Tensor:
        drawn = torch.randn(shape, generator=self.generator, device=self.device)
        return drawn.to(torch.bfloat16)

    def whole(self, *values: int) -> torch.Tensor:
        return torch.tensor(values, device=self.device, dtype=torch.int64)


Maker = Callable[[Operands], KernelWork]


def rms_norm_work(one: Operands) -> KernelWork:
    N, C, eps = one.num_tokens, one.config.hidden_size, one.config.norm_eps
    x, residual, weight = one.draw(N, C), one.draw(N, C), one.draw(C)
    return KernelWork(
        "rms_norm",
        lambda: rms_norm(x, weight, eps, residual),
        lambda: rms_norm_twin(x, weight, eps, residual),
        Work(2.0 * (4 * N * C + C), 5.0 * N * C),
    )


def rope_work(one: Operands) -> KernelWork:
    c, N = one.config, one.num_tokens
    H, K, D = c.num_heads, c.num_kv_heads, c.head_dim
    qkv, angles = one.draw(N, (H + 2 * K) * D), one.draw(N, D).float()
    cos, sin = angles.cos().bfloat16(), angles.sin().bfloat16()
    stores = [[one.draw(K, one.cached + N, D) for _ in range(2)] for _ in range(2)]
    new = [[one.draw(1, N, K, D) for _ in range(2)] for _ in range(2)]
    pointers = one.whole(*(each.data_ptr() for each in stores[0])).view(1, 2)
    length, stride = one.whole(one.cached), one.whole((one.cached + N) * D)

    def run() -> Sequence[torch.Tensor]:
        where = (pointers, 0, length, stride)
        q = rope_store(qkv, cos, sin, None, *where, new[0][0], new[0][1], H, True)
        return q, *new[0], *(each[:, one.cached :] for each in stores[0])

    def twin() -> Sequence[torch.Tensor]:
        cached = (stores[1][0], stores[1][1])
        q = rope_store_twin(qkv, cos, sin, None, cached, one.cached, new[1][0], new[1][1], H)
        return q, *new[1], *(each[:, one.cached :] for each in stores[1])

    num_values = N * D * (H + 2 * K + 2 + H + 4 * K)
    return KernelWork("rope_store", run, twin, Work(2.0 * num_values, 3.0 * N * (H + K) * D))


def swiglu_work(one: Operands) -> KernelWork:
    N, width = one.num_tokens, one.config.intermediate_size
    gate_up = one.draw(N, 2 * width)
    return KernelWork(
        "swiglu",
        lambda: (swiglu(gate_up),),
        lambda: (swiglu_twin(gate_up),),
        Work(2.0 * 3 * N * width, 5.0 * N * width),
    )


def low_rank_work(one: Operands) -> KernelWork:
    c, N = one.config, one.num_tokens
    C, M = c.num_heads * c.head_dim, c.hidden_size
    x, down, up = one.draw(N, C), one.draw(one.rank, C) / C**0.5, one.draw(M, one.rank)
    gate = torch.arange(N, device=one.device) % 8 != 1
    y = one.draw(N, M)
    other = y.clone()

    def run() -> Sequence[torch.Tensor]:
        add_low_rank(x, down, up, gate, y)
        return (y,)

    def twin() -> Sequence[torch.Tensor]:
        add_low_rank_twin(x, down, up, gate, other)
        return (other,)

    num_values = N * C + one.rank * (C + M) + 2 * N * M
    work = Work(2.0 * num_values, 2.0 * N * one.rank * (C + M))
    return KernelWork("add_low_rank", run, twin, work, is_cold=True)


def survey_work(one: Operands) -> KernelWork:
    N, V = one.num_tokens, one.config.vocab_size
    logits, penalty = one.draw(N, V), torch.zeros(V, device=one.device)
    penalty[one.config.mask_token_id] = float("-inf")
    ends = one.whole(*one.config.eos_token_ids)
    return KernelWork(
        "survey",
        lambda: survey(logits, penalty, ends),
        lambda: survey_twin(logits, penalty, ends),
        Work(2.0 * N * V + 4.0 * V, 4.0 * N * V),
    )


def commit_work(one: Operands) -> KernelWork:
    N, mask = one.num_tokens, one.config.mask_token_id
    ids, tokens = one.whole(*[mask] * N), torch.arange(N, device=one.device) + mask + 1
    sure = torch.linspace(0.1, 0.99, N, device=one.device).flip(0)
    return KernelWork(
        "threshold_commit",
        lambda: threshold_commit(tokens, sure, ids, mask, 0.5, 1),
        lambda: threshold_commit_twin(tokens, sure, ids, mask, 0.5, 1),
        Work(29.0 * N, 1.0 * N * N),
        twin_syncs=True,
    )


def attention_work(one: Operands) -> KernelWork:
    c, N, L = one.config, one.num_tokens, one.cached
    H, K, D = c.num_heads, c.num_kv_heads, c.head_dim
    q, new = one.draw(1, N, H, D), [one.draw(1, N, K, D) for _ in range(2)]
    keys, values = one.draw(K, L, D), one.draw(K, L, D)
    pointers, length = one.whole(keys.data_ptr(), values.data_ptr()).view(1, 2), one.whole(L)
    stride, seen = one.whole(L * D), torch.ones(1, N, N, device=one.device, dtype=torch.bool)
    num_sms = 2
    if one.device.type == "cuda":
        num_sms = torch.cuda.get_device_properties(one.device).multi_processor_count
    splits = num_splits_for(L, K, num_row_tiles(N, H, K), num_sms)

    def run() -> Sequence[torch.Tensor]:
        return (attend_split(q, pointers, 0, length, stride, new[0], new[1], seen, splits),)

    def twin() -> Sequence[torch.Tensor]:
        # Held here, as the kernel knows them by their addresses only.
        return (attend_split_twin(q, keys, values, new[0], new[1], seen),)

    num_values = 2 * N * H * D + 2 * K * D * (L + N)
    work = Work(2.0 * num_values, 4.0 * N * (L + N) * H * D)
    return KernelWork("attend_split", run, twin, work, is_cold=True)


def gemm_work(kind: Kind) -> Maker:
    """The product with the gate and up weights; beside it, the one with bfloat16 weights."""

    def make(one: Operands) -> KernelWork:
        N, C, M = one.num_tokens, one.config.hidden_size, 2 * one.config.intermediate_size
        x, weight = one.draw(N, C), QuantisedWeight.of(one.draw(M, C) / C**0.5, kind)
        plain = weight.dequantise(torch.bfloat16)
        return KernelWork(
            f"quantised_linear {kind}",
            lambda: (quantised_linear(x, weight, None),),
            lambda: (F.linear(x, plain),),
            Work(weight.nbytes + 2.0 * N * (C + M), 2.0 * N * C * M),
            is_cold=True,
        )

    return make


MAKERS: tuple[Maker, ...] = (
    rms_norm_work,
    rope_work,
    swiglu_work,
    low_rank_work,
    survey_work,
    commit_work,
    attention_work,
    *(gemm_work(kind) for kind in KINDS),
)
