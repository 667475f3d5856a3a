"""Rotary positions for queries and keys, which go on to where attention finds them (RoFormer,
arXiv 2104.09864, half-rotation layout)."""

from __future__ import annotations

import torch
import triton
import triton.language as tl

_HEADS_PER_PROGRAM = 8


def rope_store(  # noqa: PLR0913 - everything that meets between two matrix products
    qkv: torch.Tensor,
    cos: torch.Tensor,
    sin: torch.Tensor,
    q_scale: torch.Tensor | None,
    pointers: torch.Tensor,
    layer: int,
    length: torch.Tensor,
    head_stride: torch.Tensor,
    new_keys: torch.Tensor,
    new_values: torch.Tensor,
    num_heads: int,
    write_cache: bool,
    *,
    out: torch.Tensor | None = None,
) -> torch.Tensor:
    """Split, rotate and store the N = R * T new tokens of a pass; returns q (N, num_heads, D).

    qkv (N, (num_heads + 2 K) * D); cos, sin (N, D); q_scale (N,), a factor on the rotated queries:
    all contiguous, of one dtype. Rotated keys and plain values go to new_keys and new_values
    (R, T, K, D), and with `write_cache`, which needs R = 1, also into the cache of `layer` behind
    its `length` tokens, where there must be room: pointers int64 (num_layers, 2), addresses of
    keys and values (K, capacity, D); length and head_stride (capacity * D), int64 (1,). Nothing is
    copied to the host. Raises ValueError when shapes or dtypes do not fit.
    """
    _check(qkv, cos, sin, q_scale, pointers, layer, new_keys, new_values)
    N, D = cos.shape
    num_kv_heads = new_keys.shape[2]
    if qkv.shape != (N, (num_heads + 2 * num_kv_heads) * D):
        raise ValueError(
            f"qkv is {tuple(qkv.shape)}: {num_heads} query and {num_kv_heads} key heads of {D} do "
            f"not make that for {N} tokens."
        )
    if write_cache and new_keys.shape[0] != 1:
        raise ValueError(f"{new_keys.shape[0]} sequences cannot share the end of one cache.")
    out = qkv.new_empty(N, num_heads, D) if out is None else out
    _kernel[(N, triton.cdiv(num_heads + 2 * num_kv_heads, _HEADS_PER_PROGRAM))](
        *(qkv, cos, sin, q_scale, pointers, layer, length, head_stride),
        *(out, new_keys, new_values, num_heads, num_kv_heads),
        HALF=D // 2,
        HEADS=_HEADS_PER_PROGRAM,
        HAS_SCALE=q_scale is not None,
        WRITE_CACHE=write_cache,
        num_warps=2,
    )
    return out


def _check(
    qkv: torch.Tensor,
    cos: torch.Tensor,
    sin: torch.Tensor,
    q_scale: torch.Tensor | None,
    pointers: torch.Tensor,
    layer: int,
    new_keys: torch.Tensor,
    new_values: torch.Tensor,
) -> None:
    N, D = cos.shape
    if D < 16 or D & (D - 1):
        raise ValueError(f"head_dim {D}: use a power of two from 16 on.")
    if new_keys.shape != new_values.shape or new_keys.shape[0] * new_keys.shape[1] != N:
        raise ValueError(f"new_keys is {tuple(new_keys.shape)}, which has no room for {N} tokens.")
    tensors = [qkv, cos, sin, new_keys, new_values, *([] if q_scale is None else [q_scale])]
    if any(each.dtype != qkv.dtype or not each.is_contiguous() for each in tensors):
        raise ValueError("qkv, cos, sin, q_scale and new keys must be contiguous, of one dtype.")
    if not 0 <= layer < pointers.shape[0]:
        raise ValueError(f"Layer {layer} has no addresses among {pointers.shape[0]}.")


@triton.jit
def _rounded(value, dtype: tl.constexpr):
    """As if it had been written out: torch rounds after each operation, and so does this."""
    return value.to(dtype).to(tl.float32)


@triton.jit(do_not_specialize=["layer"])
def _kernel(  # noqa: PLR0913
    qkv_ptr,
    cos_ptr,
    sin_ptr,
    q_scale_ptr,
    pointers,
    layer,
    length_ptr,
    stride_ptr,
    q_ptr,
    new_keys_ptr,
    new_values_ptr,
    num_heads,
    num_kv_heads,
    HALF: tl.constexpr,
    HEADS: tl.constexpr,
    HAS_SCALE: tl.constexpr,
    WRITE_CACHE: tl.constexpr,
):
    """Program (token, block of heads); queries come first, then keys, then values."""
    element: tl.constexpr = qkv_ptr.dtype.element_ty
    token = tl.program_id(0)
    head = tl.program_id(1) * HEADS + tl.arange(0, HEADS)
    o_half = tl.arange(0, HALF)
    num_all = num_heads + 2 * num_kv_heads
    at = (token * num_all + head)[:, None] * (2 * HALF) + o_half[None, :]
    m_head = (head < num_all)[:, None]
    low = tl.load(qkv_ptr + at, mask=m_head, other=0.0).to(tl.float32)
    high = tl.load(qkv_ptr + at + HALF, mask=m_head, other=0.0).to(tl.float32)
    angle = token * (2 * HALF) + o_half
    turned_low, turned_high = _turned(low, high, cos_ptr + angle, sin_ptr + angle, HALF, element)

    to_query = (token * num_heads + head)[:, None] * (2 * HALF) + o_half[None, :]
    query_low, query_high = turned_low, turned_high
    if HAS_SCALE:
        scale = tl.load(q_scale_ptr + token).to(tl.float32)
        query_low = _rounded(turned_low, element) * scale
        query_high = _rounded(turned_high, element) * scale
    _store_halves(
        q_ptr, to_query, query_low.to(element), query_high.to(element), head < num_heads, HALF
    )

    is_key = (head >= num_heads) & (head < num_heads + num_kv_heads)
    is_value = (head >= num_heads + num_kv_heads) & (head < num_all)
    own = tl.where(is_key, head - num_heads, head - num_heads - num_kv_heads)
    low = tl.where(is_key[:, None], turned_low, low).to(element)
    high = tl.where(is_key[:, None], turned_high, high).to(element)
    to_new = (token * num_kv_heads + own)[:, None] * (2 * HALF) + o_half[None, :]
    _store_halves(new_keys_ptr, to_new, low, high, is_key, HALF)
    _store_halves(new_values_ptr, to_new, low, high, is_value, HALF)
    if WRITE_CACHE:
        # Nothing is known of what is read from memory: the hints let whole vectors be stored.
        stride = tl.multiple_of(tl.load(stride_ptr), 16)
        row = own * stride + (tl.load(length_ptr) + token) * (2 * HALF)
        to_cache = row[:, None] + o_half[None, :]
        keys = tl.load(pointers + 2 * layer).to(tl.pointer_type(element))
        values = tl.load(pointers + 2 * layer + 1).to(tl.pointer_type(element))
        _store_halves(tl.multiple_of(keys, 16), to_cache, low, high, is_key, HALF)
        _store_halves(tl.multiple_of(values, 16), to_cache, low, high, is_value, HALF)


@triton.jit
def _turned(low, high, cos_ptr, sin_ptr, HALF: tl.constexpr, element: tl.constexpr):
    """Both halves (HEADS, HALF) of one token's heads, turned by its angles."""
    cos_low = tl.load(cos_ptr).to(tl.float32)[None, :]
    cos_high = tl.load(cos_ptr + HALF).to(tl.float32)[None, :]
    sin_low = tl.load(sin_ptr).to(tl.float32)[None, :]
    sin_high = tl.load(sin_ptr + HALF).to(tl.float32)[None, :]
    turned_low = _rounded(low * cos_low, element) - _rounded(high * sin_low, element)
    turned_high = _rounded(high * cos_high, element) + _rounded(low * sin_high, element)
    return turned_low, turned_high


@triton.jit
def _store_halves(base, at, low, high, is_wanted, HALF: tl.constexpr):
    """Rows of (HEADS, HALF) that are wanted, and their other halves."""
    tl.store(base + at, low, mask=is_wanted[:, None])
    tl.store(base + at + HALF, high, mask=is_wanted[:, None])
