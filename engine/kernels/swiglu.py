"""SwiGLU's gate: silu(gate) * up (arXiv 2002.05202)."""

from __future__ import annotations

import torch
import triton
import triton.language as tl

_BLOCK = 1024


def swiglu(gate_up: torch.Tensor, *, out: torch.Tensor | None = None) -> torch.Tensor:
    """gate_up (N, 2 I), contiguous, the gate first -> (N, I). Raises ValueError when it is not."""
    N, width = gate_up.shape
    if width % 2 or not gate_up.is_contiguous():
        raise ValueError(f"gate_up {tuple(gate_up.shape)} must be contiguous, of an even width.")
    out = gate_up.new_empty(N, width // 2) if out is None else out
    grid = (N, triton.cdiv(width // 2, _BLOCK))
    _kernel[grid](gate_up, out, width // 2, BLOCK=_BLOCK, num_warps=4)
    return out


@triton.jit
def _kernel(gate_up_ptr, out_ptr, width, BLOCK: tl.constexpr):
    """Program (row, block of the width)."""
    element: tl.constexpr = gate_up_ptr.dtype.element_ty
    row = tl.program_id(0)
    o_i = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    m_i = o_i < width
    at = row * 2 * width + o_i
    gate = tl.load(gate_up_ptr + at, mask=m_i, other=0.0).to(tl.float32)
    up = tl.load(gate_up_ptr + at + width, mask=m_i, other=0.0).to(tl.float32)
    # Rounded in between, as torch does.
    silu = (gate / (1.0 + tl.exp(-gate))).to(element).to(tl.float32)
    tl.store(out_ptr + row * width + o_i, (silu * up).to(element), mask=m_i)
