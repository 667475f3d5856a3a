"""A low-rank adapter on the gated rows of a pass, in place (LoRA, arXiv 2106.09685).

Two kernels: down into the rank, with the width split over programs that leave partial sums, and up
out of it, where the sums are joined. Which rows are gated is known on the device only.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

MAX_TOKENS = 64
_BLOCK_RANK = 16
_BLOCK_IN = 64
_BLOCK_OUT = 64
# Each program of the second kernel reads all partial sums: few of them are few bytes to read.
_MAX_SPLITS = 8


def add_low_rank(
    x: torch.Tensor, down: torch.Tensor, up: torch.Tensor, gate: torch.Tensor, y: torch.Tensor
) -> None:
    """y[gate] += (x down^T) up^T, in place; other rows are not touched.

    x (N, C), down (r, C), up (M, r), y (N, M): contiguous, of one dtype, N up to 64; gate bool
    (N,). Raises ValueError when shapes or dtypes do not fit.
    """
    _check(x, down, up, gate, y)
    N, C = x.shape
    M, rank = up.shape
    num_splits = min(_MAX_SPLITS, triton.cdiv(C, 2 * _BLOCK_IN))
    each = triton.cdiv(triton.cdiv(C, num_splits), _BLOCK_IN) * _BLOCK_IN
    partial = torch.empty(num_splits, N, rank, device=x.device, dtype=torch.float32)
    rows = max(16, triton.next_power_of_2(N))
    _down_kernel[(triton.cdiv(rank, _BLOCK_RANK), num_splits)](
        *(x, down, partial, N, C, rank, each),
        ROWS=rows,
        BLOCK_RANK=_BLOCK_RANK,
        BLOCK_IN=_BLOCK_IN,
        num_warps=4,
    )
    _up_kernel[(triton.cdiv(M, _BLOCK_OUT),)](
        *(partial, up, gate.view(torch.uint8), y, N, M, rank, num_splits),
        ROWS=rows,
        BLOCK_RANK=_BLOCK_RANK,
        BLOCK_OUT=_BLOCK_OUT,
        num_warps=4,
    )


def _check(
    x: torch.Tensor, down: torch.Tensor, up: torch.Tensor, gate: torch.Tensor, y: torch.Tensor
) -> None:
    (N, C), (M, rank) = x.shape, up.shape
    if not 1 <= N <= MAX_TOKENS:
        raise ValueError(f"{N} rows: add_low_rank takes 1 to {MAX_TOKENS}.")
    if down.shape != (rank, C) or y.shape != (N, M) or gate.shape != (N,):
        raise ValueError(
            f"down {tuple(down.shape)}, up {tuple(up.shape)} and gate {tuple(gate.shape)} do not "
            f"lead from x {tuple(x.shape)} to y {tuple(y.shape)}."
        )
    if gate.dtype != torch.bool:
        raise ValueError(f"The gate must be bool, not {gate.dtype}.")
    if any(each.dtype != x.dtype or not each.is_contiguous() for each in (x, down, up, y)):
        raise ValueError("x, down, up and y must be contiguous, of one dtype.")


@triton.jit(do_not_specialize=["N"])
def _down_kernel(  # noqa: PLR0913
    x_ptr,
    down_ptr,
    partial_ptr,
    N,
    C,
    rank,
    each,
    ROWS: tl.constexpr,
    BLOCK_RANK: tl.constexpr,
    BLOCK_IN: tl.constexpr,
):
    """Program (block of the rank, split): all rows, over the inputs of the split."""
    split = tl.program_id(1)
    row = tl.arange(0, ROWS)
    o_r = tl.program_id(0) * BLOCK_RANK + tl.arange(0, BLOCK_RANK)
    total = tl.zeros((ROWS, BLOCK_RANK), tl.float32)
    for start in range(split * each, tl.minimum((split + 1) * each, C), BLOCK_IN):
        o_c = start + tl.arange(0, BLOCK_IN)
        m_c = (o_c < C)[None, :]
        x = tl.load(x_ptr + row[:, None] * C + o_c[None, :], mask=(row < N)[:, None] & m_c, other=0)
        down_at = o_r[:, None] * C + o_c[None, :]
        down = tl.load(down_ptr + down_at, mask=(o_r < rank)[:, None] & m_c, other=0)
        total = tl.dot(x, tl.trans(down), acc=total, input_precision="ieee")
    at = (split * N + row)[:, None] * rank + o_r[None, :]
    tl.store(partial_ptr + at, total, mask=(row < N)[:, None] & (o_r < rank)[None, :])


@triton.jit(do_not_specialize=["N", "num_splits"])
def _up_kernel(  # noqa: PLR0913
    partial_ptr,
    up_ptr,
    gate_ptr,
    y_ptr,
    N,
    M,
    rank,
    num_splits,
    ROWS: tl.constexpr,
    BLOCK_RANK: tl.constexpr,
    BLOCK_OUT: tl.constexpr,
):
    """Program (block of the outputs): all rows."""
    element: tl.constexpr = y_ptr.dtype.element_ty
    row = tl.arange(0, ROWS)
    o_m = tl.program_id(0) * BLOCK_OUT + tl.arange(0, BLOCK_OUT)
    delta = tl.zeros((ROWS, BLOCK_OUT), tl.float32)
    for start in range(0, rank, BLOCK_RANK):
        o_r = start + tl.arange(0, BLOCK_RANK)
        m_r = (o_r < rank)[None, :]
        low = tl.zeros((ROWS, BLOCK_RANK), tl.float32)
        for split in range(num_splits):
            at = (split * N + row)[:, None] * rank + o_r[None, :]
            low += tl.load(partial_ptr + at, mask=(row < N)[:, None] & m_r, other=0.0)
        up_at = o_m[:, None] * rank + o_r[None, :]
        up = tl.load(up_ptr + up_at, mask=(o_m < M)[:, None] & m_r, other=0)
        delta = tl.dot(low.to(element), tl.trans(up), acc=delta, input_precision="ieee")
    gated = tl.load(gate_ptr + row, mask=row < N, other=0) != 0
    y_at = y_ptr + row[:, None] * M + o_m[None, :]
    mask = gated[:, None] & (o_m < M)[None, :]
    y = tl.load(y_at, mask=mask, other=0.0).to(tl.float32)
    tl.store(y_at, (y + delta.to(element).to(tl.float32)).to(element), mask=mask)
