"""The two kernels of `engine.kernels.attention`: partial softmaxes per split, and their join.

Both softmaxes are online and in base 2: `top` is the greatest score so far, `total` the sum of the
weights 2^(score - top), `mixed` the sum of the values times them, all in float32.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def _finite(top):
    """A maximum to be subtracted: of no keys it is -inf, and -inf - -inf would be NaN."""
    return tl.where(top == -float("inf"), 0.0, top)


@triton.jit
def _take(query, keys, values, seen, scale, top, total, mixed):
    """One step of the online softmax: rows (TILE, D) over a block of keys (D, n), values (n, D)."""
    scores = tl.dot(query, keys, input_precision="ieee") * scale
    scores = tl.where(seen, scores, -float("inf"))
    new_top = tl.maximum(top, tl.max(scores, 1))
    shift = _finite(new_top)
    weights = tl.exp2(scores - shift[:, None])
    fade = tl.exp2(top - shift)
    total = total * fade + tl.sum(weights, 1)
    mixed = mixed * fade[:, None]
    mixed = tl.dot(weights.to(values.dtype), values, acc=mixed, input_precision="ieee")
    return new_top, total, mixed


@triton.jit
def _cached(pointers, index, stride_ptr, head, element: tl.constexpr):
    """Where the keys or values of one head begin."""
    # Nothing is known of an address that was read from memory: without the hints each element
    # would be loaded by itself.
    stride = tl.multiple_of(tl.load(stride_ptr), 16)
    base = tl.load(pointers + index).to(tl.pointer_type(element))
    return tl.multiple_of(base, 16) + head * stride


@triton.jit
def _over_cache(  # noqa: PLR0913
    query,
    top,
    total,
    mixed,
    scale,
    pointers,
    layer,
    length_ptr,
    stride_ptr,
    D: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """A tile's rows over its split's share of the cached keys."""
    head, split, num_splits = tl.program_id(0), tl.program_id(2), tl.num_programs(2)
    keys_ptr = _cached(pointers, 2 * layer, stride_ptr, head, query.dtype)
    values_ptr = _cached(pointers, 2 * layer + 1, stride_ptr, head, query.dtype)
    length = tl.load(length_ptr).to(tl.int32)
    # Whole blocks are dealt out evenly, the odd ones to the first splits: the last has new keys.
    num_blocks = (length + BLOCK - 1) // BLOCK
    each, odd = num_blocks // num_splits, num_blocks % num_splits
    first = (split * each + tl.minimum(split, odd)) * BLOCK
    end = tl.minimum(first + (each + (split < odd).to(tl.int32)) * BLOCK, length)
    for start in range(first, end, BLOCK):
        key = start + tl.arange(0, BLOCK)
        seen = key < end
        at = key[:, None] * D + tl.arange(0, D)[None, :]
        # The zeros matter for the values, too: behind the length 0 * NaN would be NaN.
        keys = tl.load(keys_ptr + at, mask=seen[:, None], other=0.0)
        values = tl.load(values_ptr + at, mask=seen[:, None], other=0.0)
        keys = tl.trans(keys)
        top, total, mixed = _take(query, keys, values, seen[None, :], scale, top, total, mixed)
    return top, total, mixed


@triton.jit
def _over_new_keys(  # noqa: PLR0913
    query,
    top,
    total,
    mixed,
    scale,
    token,
    keys_ptr,
    values_ptr,
    visible_ptr,
    N,
    T,
    D: tl.constexpr,
    NEW_BLOCK: tl.constexpr,
):
    """A tile's rows, of the tokens `token`, over the new keys of their own sequences."""
    key = tl.arange(0, NEW_BLOCK)
    is_key = key < N
    place = key * tl.num_programs(0) + tl.program_id(0)
    at = place[:, None] * D + tl.arange(0, D)[None, :]
    keys = tl.load(keys_ptr + at, mask=is_key[:, None], other=0.0)
    values = tl.load(values_ptr + at, mask=is_key[:, None], other=0.0)
    own = (token // T)[:, None] == (key // T)[None, :]
    own = own & (token < N)[:, None] & is_key[None, :]
    pair = token[:, None] * T + (key % T)[None, :]
    seen = tl.load(visible_ptr + pair, mask=own, other=0) != 0
    return _take(query, tl.trans(keys), values, seen, scale, top, total, mixed)


@triton.jit(do_not_specialize=["layer", "N", "T"])
def split_kernel(  # noqa: PLR0913
    q_ptr,
    pointers,
    layer,
    length_ptr,
    stride_ptr,
    new_keys_ptr,
    new_values_ptr,
    visible_ptr,
    mixed_ptr,
    tops_ptr,
    N,
    T,
    scale,
    GROUP: tl.constexpr,
    D: tl.constexpr,
    TILE: tl.constexpr,
    BLOCK: tl.constexpr,
    NEW_BLOCK: tl.constexpr,
):
    """Program (key-value head, row tile, split): the tile's rows over the split's keys."""
    split, num_splits = tl.program_id(2), tl.num_programs(2)
    row, column = tl.program_id(1) * TILE + tl.arange(0, TILE), tl.arange(0, D)
    token = row // GROUP
    is_row = token < N
    place = (token * tl.num_programs(0) + tl.program_id(0)) * GROUP + row % GROUP
    at = place[:, None] * D + column[None, :]
    query = tl.load(q_ptr + at, mask=is_row[:, None], other=0.0)
    top = tl.full((TILE,), -float("inf"), tl.float32)
    total, mixed = tl.zeros((TILE,), tl.float32), tl.zeros((TILE, D), tl.float32)
    top, total, mixed = _over_cache(
        query, top, total, mixed, scale, pointers, layer, length_ptr, stride_ptr, D, BLOCK
    )
    if split == num_splits - 1:
        new = (new_keys_ptr, new_values_ptr, visible_ptr)
        top, total, mixed = _over_new_keys(
            query, top, total, mixed, scale, token, *new, N, T, D, NEW_BLOCK
        )
    num_rows = N * tl.num_programs(0) * GROUP
    partial = split * num_rows + place
    tl.store(tops_ptr + partial, top, mask=is_row)
    tl.store(tops_ptr + num_splits * num_rows + partial, total, mask=is_row)
    # Rows without keys are known by their sum of 0 and stay unwritten; a sum of NaN is passed on.
    held = is_row & (total != 0.0)
    tl.store(mixed_ptr + partial[:, None] * D + column[None, :], mixed, mask=held[:, None])


@triton.jit(do_not_specialize=["num_rows", "num_splits"])
def combine_kernel(
    mixed_ptr,
    tops_ptr,
    out_ptr,
    num_rows,
    num_splits,
    D: tl.constexpr,
    ROWS: tl.constexpr,
    SPLITS: tl.constexpr,
):
    """Program (block of query rows): their partial softmaxes joined, in the dtype of `out`."""
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    split, column = tl.arange(0, SPLITS), tl.arange(0, D)
    partial = split[:, None] * num_rows + row[None, :]
    there = (split < num_splits)[:, None] & (row < num_rows)[None, :]
    total = tl.load(tops_ptr + num_splits * num_rows + partial, mask=there, other=0.0)
    held = total != 0.0
    top = tl.load(tops_ptr + partial, mask=held, other=-float("inf"))
    weight = tl.exp2(top - _finite(tl.max(top, 0))[None, :])
    at = partial[:, :, None] * D + column[None, None, :]
    mixed = tl.load(mixed_ptr + at, mask=held[:, :, None], other=0.0)
    joined = tl.sum(mixed * weight[:, :, None], 0)
    norm = tl.sum(total * weight, 0)
    joined = joined / tl.where(norm == 0.0, 1.0, norm)[:, None]
    out = out_ptr + row[:, None] * D + column[None, :]
    tl.store(out, joined.to(out_ptr.dtype.element_ty), mask=(row < num_rows)[:, None])
