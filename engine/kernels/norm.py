"""RMSNorm, with the residual added before it (arXiv 1910.07467)."""

from __future__ import annotations

import torch
import triton
import triton.language as tl


def rms_norm(
    x: torch.Tensor,
    weight: torch.Tensor,
    eps: float,
    residual: torch.Tensor | None,
    *,
    out: torch.Tensor | None = None,
    summed: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The norm of x + residual, and that sum, both (N, C) in the dtype of `x`; the sum is `x`
    itself where `residual` is None.

    x, residual (N, C), weight (C,), contiguous. out and summed: written where they are given;
    `summed` may be `residual`. Raises ValueError when shapes do not fit.
    """
    N, C = x.shape
    if not x.is_contiguous() or weight.shape != (C,) or not weight.is_contiguous():
        raise ValueError(f"The weight of x {tuple(x.shape)} must be ({C},), both contiguous.")
    out = torch.empty_like(x) if out is None else out
    if residual is None:
        summed = x
    else:
        summed = torch.empty_like(x) if summed is None else summed
        if any(each.shape != x.shape or not each.is_contiguous() for each in (residual, summed)):
            raise ValueError(f"residual and summed must be {tuple(x.shape)}, contiguous, as x is.")
    block = triton.next_power_of_2(C)
    _kernel[(N,)](
        *(x, residual, weight, out, summed, C, eps),
        HAS_RESIDUAL=residual is not None,
        BLOCK=block,
        num_warps=min(max(block // 512, 1), 16),
    )
    return out, summed


@triton.jit
def _kernel(  # noqa: PLR0913
    x_ptr,
    residual_ptr,
    weight_ptr,
    out_ptr,
    summed_ptr,
    C,
    eps,
    HAS_RESIDUAL: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """One program per row."""
    o_c = tl.arange(0, BLOCK)
    m_c = o_c < C
    at = tl.program_id(0).to(tl.int64) * C + o_c
    row = tl.load(x_ptr + at, mask=m_c, other=0.0)
    if HAS_RESIDUAL:
        row = (row.to(tl.float32) + tl.load(residual_ptr + at, mask=m_c, other=0.0)).to(row.dtype)
        tl.store(summed_ptr + at, row, mask=m_c)
    value = row.to(tl.float32)
    scale = tl.rsqrt(tl.sum(value * value, axis=0) / C + eps)
    gain = tl.load(weight_ptr + o_c, mask=m_c, other=0.0).to(tl.float32)
    tl.store(out_ptr + at, (value * scale * gain).to(row.dtype), mask=m_c)
