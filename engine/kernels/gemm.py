"""Products with rounded weights (`engine.quantised`) for up to 64 rows, and their unpacking.

Codes become numbers in registers, so that only they are read from memory. Few rows leave few output
tiles: where those would not fill the chip, the inputs are split over programs too, whose partial
sums a second kernel adds in a fixed order (split-K without atomics: the same input gives the same
bits). Scales are applied to the sums of a group, not to its weights. More rows, as of a prefill,
are bound by arithmetic: the weight is unpacked once, and torch's own product does the rest.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import torch
import torch.nn.functional as F
import triton
import triton.language as tl

from engine.quantised.weight import QuantisedWeight

MAX_ROWS = 64
_MIN_TILE = 16
_CPU_PROGRAMS = 8
_JOIN_BLOCK = 1024
_UNPACK_BLOCK = 64
# What every chip with these kernels has to spare for one program.
_STAGED_BYTES = 80 * 2**10


class Plan(NamedTuple):
    """block_m: outputs of a tile; blocks_per_split: blocks of inputs that one program adds up."""

    block_m: int
    blocks_per_split: int
    num_splits: int


def plan_for(num_outputs: int, num_blocks: int, num_programs: int) -> Plan:
    """As many splits as it takes to have `num_programs` programs; of the same sizes for any number
    of rows, so that a row's sums are taken in the same order beside any others."""
    block_m = 64 if num_outputs >= 64 * num_programs else 32
    tiles = -(-num_outputs // block_m)
    wanted = min(num_blocks, max(1, num_programs // tiles))
    each = -(-num_blocks // wanted)
    return Plan(block_m, each, -(-num_blocks // each))


def quantised_linear(
    x: torch.Tensor,
    weight: QuantisedWeight,
    bias: torch.Tensor | None,
    dtype: torch.dtype | None = None,
    *,
    plan: Plan | None = None,
    out: torch.Tensor | None = None,
) -> torch.Tensor:
    """x (N, num_inputs) fp32 or bf16, contiguous, times the weight's transpose, plus bias
    (num_outputs,) of any floating dtype: (N, num_outputs) of `dtype` (None: that of x), in `out` if
    it is given. Sums are fp32. plan: how the work is split (None: by the size of the chip)."""
    N, M = x.shape[0], weight.num_outputs
    assert x.is_contiguous() and x.shape[1] == weight.num_inputs
    assert x.dtype in (torch.float32, torch.bfloat16)
    out = torch.empty(N, M, device=x.device, dtype=dtype or x.dtype) if out is None else out
    assert out.is_contiguous() and out.shape == (N, M)
    if N > MAX_ROWS:
        unpacked = dequantise(weight, x.dtype)
        return out.copy_(F.linear(x, unpacked, None if bias is None else bias.to(x.dtype)))
    num_blocks = weight.codes.shape[0]
    plan = plan or plan_for(M, num_blocks, _num_programs(x.device))
    block_n = max(_MIN_TILE, triton.next_power_of_2(N))
    is_split = plan.num_splits > 1
    sums = torch.empty(plan.num_splits, N, M, device=x.device) if is_split else out
    _gemm_kernel[(triton.cdiv(M, plan.block_m), plan.num_splits)](
        *(x, weight.codes, weight.scales, weight.zeros, bias, sums),
        *(N, M, x.shape[1], num_blocks),
        KIND=weight.kind,
        BLOCK_K=weight.block,
        BLOCKS_PER_SPLIT=plan.blocks_per_split,
        BLOCK_M=plan.block_m,
        BLOCK_N=block_n,
        HAS_BIAS=bias is not None and not is_split,
        num_warps=4,
        num_stages=_num_stages(weight, plan.block_m, block_n * x.element_size()),
    )
    if is_split:
        _join_kernel[(triton.cdiv(N * M, _JOIN_BLOCK),)](
            *(sums, bias, out, N * M, M),
            NUM_SPLITS=plan.num_splits,
            HAS_BIAS=bias is not None,
            BLOCK=_JOIN_BLOCK,
        )
    return out


def dequantise(weight: QuantisedWeight, dtype: torch.dtype) -> torch.Tensor:
    """The weight as (num_outputs, num_inputs) of `dtype`, fp32 or bf16, in one pass over its codes;
    the slow twin is `QuantisedWeight.dequantise`."""
    M, K = weight.num_outputs, weight.num_inputs
    out = torch.empty(M, K, device=weight.codes.device, dtype=dtype)
    _dequantise_kernel[(weight.codes.shape[0], triton.cdiv(M, _UNPACK_BLOCK))](
        *(weight.codes, weight.scales, weight.zeros, out, M, K),
        KIND=weight.kind,
        BLOCK_K=weight.block,
        BLOCK_M=_UNPACK_BLOCK,
    )
    return out


def _num_stages(weight: QuantisedWeight, block_m: int, row_bytes: int) -> int:
    """Steps whose codes and inputs are on their way at once, as far as shared memory goes."""
    step = block_m * weight.codes.shape[2] + weight.block * row_bytes
    return max(2, min(6, _STAGED_BYTES // step))


@functools.cache
def _num_programs(device: torch.device) -> int:
    """Two for each multiprocessor, so that one loads while the other computes."""
    if device.type != "cuda":
        return _CPU_PROGRAMS
    return 2 * torch.cuda.get_device_properties(device).multi_processor_count


@triton.jit
def _fp8_numbers(codes):
    """fp16, 2^-8 of what the bits of e4m3 numbers mean: exponent and fraction put into the places
    of fp16, whose exponent is biased by 8 more. Exact, subnormal numbers too, on every chip."""
    bits = codes.to(tl.int16)
    half = ((bits & 0x80) << 8) | ((bits & 0x7F) << 7)
    return half.to(tl.float16, bitcast=True)


@triton.jit
def _halves(block, M, o_m):
    """Where the scales and zeros of both groups of a block of int4 codes are."""
    low = block.to(tl.int64) * 2 * M + o_m
    return low, low + M


@triton.jit
def _steps(codes, p_zeros, mask):
    """int8: how many scales a weight is."""
    return codes.to(tl.int8) - tl.load(p_zeros, mask=mask, other=0).to(tl.int8)[:, None]


@triton.jit
def _column(p_values, mask):
    """fp32 (BLOCK_M, 1)."""
    return tl.load(p_values, mask=mask, other=0.0).to(tl.float32)[:, None]


@triton.jit
def _gemm_kernel(  # noqa: PLR0913 - a kernel has no objects to put them in
    x,
    codes,
    scales,
    zeros,
    bias,
    out,
    N,
    M,
    K,
    num_blocks,
    KIND: tl.constexpr,
    BLOCK_K: tl.constexpr,
    BLOCKS_PER_SPLIT: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    HAS_BIAS: tl.constexpr,
):
    """One program per BLOCK_M outputs and split of the blocks. The weights are the left operand,
    which the matrix units take from registers."""
    DTYPE: tl.constexpr = x.dtype.element_ty
    # bf16 codes and inputs lose nothing; fp32 inputs must not be cut to tf32.
    PRECISION: tl.constexpr = "ieee" if DTYPE == tl.float32 else "tf32"
    WIDTH: tl.constexpr = BLOCK_K // 2 if KIND == "int4" else BLOCK_K
    i_split = tl.program_id(1)
    o_m = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    o_n = tl.arange(0, BLOCK_N)
    o_k = tl.arange(0, WIDTH)
    m_m, m_n = o_m < M, o_n < N
    p_x = x + o_n[None, :] * K  # (1, BLOCK_N)
    total = tl.zeros((BLOCK_M, BLOCK_N), dtype=tl.float32)
    for step in range(0, BLOCKS_PER_SPLIT):
        block = i_split * BLOCKS_PER_SPLIT + step
        row = block.to(tl.int64) * M + o_m
        # The last split may have fewer blocks.
        m_w = m_m & (block < num_blocks)
        k = block * BLOCK_K + o_k
        m_x = (k < K)[:, None] & m_n[None, :]
        b_x = tl.load(p_x + k[:, None], mask=m_x, other=0.0)  # (WIDTH, BLOCK_N)
        b_c = tl.load(codes + row[:, None] * WIDTH + o_k[None, :], mask=m_w[:, None], other=0)
        if KIND == "int4":
            p_low, p_high = _halves(block, M, o_m)
            low = _steps(b_c & 15, zeros + p_low, m_w).to(DTYPE)
            high = _steps(b_c >> 4, zeros + p_high, m_w).to(DTYPE)
            m_second = (k + WIDTH < K)[:, None] & m_n[None, :]
            b_second = tl.load(p_x + k[:, None] + WIDTH, mask=m_second, other=0.0)
            part = tl.dot(low, b_x, input_precision=PRECISION)
            total += part * _column(scales + p_low, m_w)
            part = tl.dot(high, b_second, input_precision=PRECISION)
            total += part * _column(scales + p_high, m_w)
        elif KIND == "int8":
            part = tl.dot(b_c.to(DTYPE), b_x, input_precision=PRECISION)
            total += part * _column(scales + row, m_w)
        else:
            total = tl.dot(_fp8_numbers(b_c).to(DTYPE), b_x, total, input_precision=PRECISION)
    if KIND == "fp8":
        total *= _column(scales + o_m, m_m) * 256.0
    if HAS_BIAS:
        total += _column(bias + o_m, m_m)
    at = (i_split * N + o_n).to(tl.int64)[None, :] * M + o_m[:, None]
    tl.store(out + at, total.to(out.dtype.element_ty), mask=m_m[:, None] & m_n[None, :])


@triton.jit
def _join_kernel(
    sums,
    bias,
    out,
    size,
    M,
    NUM_SPLITS: tl.constexpr,
    HAS_BIAS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Adds the partial sums of the splits, the first one first."""
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = at < size
    total = tl.zeros((BLOCK,), dtype=tl.float32)
    part = sums + at
    for _ in range(0, NUM_SPLITS):
        total += tl.load(part, mask=mask, other=0.0)
        part += size
    if HAS_BIAS:
        total += tl.load(bias + at % M, mask=mask, other=0.0).to(tl.float32)
    tl.store(out + at, total.to(out.dtype.element_ty), mask=mask)


@triton.jit
def _dequantise_kernel(  # noqa: PLR0913 - as above
    codes,
    scales,
    zeros,
    out,
    M,
    K,
    KIND: tl.constexpr,
    BLOCK_K: tl.constexpr,
    BLOCK_M: tl.constexpr,
):
    """One program per block of inputs and BLOCK_M outputs."""
    WIDTH: tl.constexpr = BLOCK_K // 2 if KIND == "int4" else BLOCK_K
    i_block = tl.program_id(0)
    o_m = tl.program_id(1) * BLOCK_M + tl.arange(0, BLOCK_M)
    m_m = o_m < M
    row = i_block.to(tl.int64) * M + o_m
    o_k = tl.arange(0, WIDTH)
    b_c = tl.load(codes + row[:, None] * WIDTH + o_k[None, :], mask=m_m[:, None], other=0)
    k = i_block * BLOCK_K + o_k
    p_out = out + o_m.to(tl.int64)[:, None] * K
    mask = m_m[:, None] & (k < K)[None, :]
    if KIND == "int4":
        p_low, p_high = _halves(i_block, M, o_m)
        high = _steps(b_c >> 4, zeros + p_high, m_m).to(tl.float32) * _column(scales + p_high, m_m)
        m_second = m_m[:, None] & (k + WIDTH < K)[None, :]
        tl.store(p_out + k[None, :] + WIDTH, high.to(out.dtype.element_ty), mask=m_second)
        value = _steps(b_c & 15, zeros + p_low, m_m).to(tl.float32) * _column(scales + p_low, m_m)
    elif KIND == "int8":
        value = b_c.to(tl.float32) * _column(scales + row, m_m)
    else:
        value = _fp8_numbers(b_c).to(tl.float32) * (_column(scales + o_m, m_m) * 256.0)
    tl.store(p_out + k[None, :], value.to(out.dtype.element_ty), mask=mask)
