"""Split-KV block attention: a few new tokens over a long cached prefix, in two kernels.

The cached keys are split over many programs, each of which leaves a partial softmax (its maximum,
its sum, its weighted values); a second kernel joins them. After FlashAttention-2 (arXiv
2307.08691) and its split-KV form, Flash-Decoding. The query heads of one key-value head are folded
into the rows of a tile, with the tokens of all sequences: all of them share the cached prefix.

The length is read on the device, so the grid, and a CUDA graph of it, serves every length.
"""

from __future__ import annotations

import math

import torch

from engine.kernels.attention_kernels import combine_kernel, split_kernel
from engine.models.attention import attend

MAX_TOKENS = 64
MAX_SPLITS = 64
_MIN_KEYS_PER_SPLIT = 256


def attend_split(  # noqa: PLR0913 - the parts of one attention call
    q: torch.Tensor,
    pointers: torch.Tensor,
    layer: int,
    length: torch.Tensor,
    head_stride: torch.Tensor,
    new_keys: torch.Tensor,
    new_values: torch.Tensor,
    visible: torch.Tensor,
    num_splits: int,
    *,
    out: torch.Tensor | None = None,
) -> torch.Tensor:
    """Attention of R sequences of T new tokens over one cached prefix and their own new keys.

    q (R, T, num_heads, head_dim); pointers int64 (num_layers, 2), the addresses of each layer's
    cached keys and values (num_kv_heads, capacity, head_dim) in q's dtype, multiples of 16 bytes;
    length int64 (1,): cached tokens, all of which are seen; head_stride int64 (1,): capacity *
    head_dim; new_keys, new_values (R, T, num_kv_heads, head_dim); visible bool or uint8 (R, T, T):
    query i sees new key j of its own sequence. Returns (R, T, num_heads * head_dim), in `out` if
    it is given; a query that sees no key at all gets zeros. Nothing is copied to the host.
    Raises ValueError when shapes, dtypes or counts do not fit.
    """
    R, T, num_heads, head_dim = q.shape
    out = q.new_empty(R, T, num_heads * head_dim) if out is None else out
    _check(q, pointers, layer, new_keys, new_values, visible, num_splits, out)
    scratch = (num_splits, R * T * num_heads)
    mixed = torch.empty(*scratch, head_dim, device=q.device, dtype=torch.float32)
    tops = torch.empty(2, *scratch, device=q.device, dtype=torch.float32)
    sizes = _sizes(q, new_keys.shape[2])
    num_tiles = -(-R * T * sizes["GROUP"] // sizes["TILE"])
    # The softmax is taken in base 2, which the hardware knows.
    scale = math.log2(math.e) / math.sqrt(head_dim)
    split_kernel[(new_keys.shape[2], num_tiles, num_splits)](
        *(q, pointers, layer, length, head_stride, new_keys, new_values),
        *(visible.view(torch.uint8), mixed, tops, R * T, T, scale),
        **sizes,
    )
    _combine(mixed, tops, out)
    return out


def _sizes(q: torch.Tensor, num_kv_heads: int) -> dict[str, int]:
    R, T, num_heads, head_dim = q.shape
    group, is_half = num_heads // num_kv_heads, q.element_size() == 2
    block = min(64, 8192 // head_dim)
    return {
        "GROUP": group,
        "D": head_dim,
        "TILE": _row_tile(R * T * group) if is_half else min(32, _row_tile(R * T * group)),
        "BLOCK": block if is_half else block // 2,
        "NEW_BLOCK": max(16, _power_of_two(R * T)),
        "num_warps": 4,
        # The keys and values of two stages, 64 KiB, leave room for two programs on a Hopper chip
        # and for one on the small ones. float32 is for checking.
        "num_stages": 2 if is_half else 1,
    }


def _combine(mixed: torch.Tensor, tops: torch.Tensor, out: torch.Tensor) -> None:
    num_splits, num_rows, head_dim = mixed.shape
    splits = _power_of_two(num_splits)
    # Up to 64 registers per thread for the partial values, but first a program per row.
    rows = max(1, min(8192 // (splits * head_dim), _power_of_two(num_rows // 128)))
    combine_kernel[(-(-num_rows // rows),)](
        *(mixed, tops, out, num_rows, num_splits),
        D=head_dim,
        ROWS=rows,
        SPLITS=splits,
        num_warps=4,
    )


def attend_split_twin(
    q: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    new_keys: torch.Tensor,
    new_values: torch.Tensor,
    visible: torch.Tensor,
) -> torch.Tensor:
    """The slow twin: one sequence after the other in plain torch.

    keys, values (num_kv_heads, length, head_dim): the cached prefix; the rest as `attend_split`.
    """
    rows = []
    for row in range(q.shape[0]):
        own_keys = torch.cat((keys, new_keys[row].transpose(0, 1)), dim=1).unsqueeze(0)
        own_values = torch.cat((values, new_values[row].transpose(0, 1)), dim=1).unsqueeze(0)
        rows.append(attend(q[row : row + 1], own_keys, own_values, visible[row : row + 1].bool()))
    return torch.cat(rows)


def num_splits_for(max_length: int, num_kv_heads: int, num_row_tiles: int, num_sms: int) -> int:
    """Splits of the cached keys for prefixes of up to `max_length` tokens.

    One split is num_kv_heads * num_row_tiles programs. As many splits are taken as fit twice on
    the device's multiprocessors, where two programs at a time hide each other's memory latency:
    more would only add partial results. But each split should have about 256 keys to walk, or
    starting it and joining its result costs more than the walk.
    """
    filling = 2 * num_sms // (num_kv_heads * num_row_tiles)
    worthwhile = -(-max_length // _MIN_KEYS_PER_SPLIT)
    return max(1, min(filling, worthwhile, MAX_SPLITS))


def num_row_tiles(num_tokens: int, num_heads: int, num_kv_heads: int) -> int:
    """Row tiles per key-value head for `num_tokens` = R * T, in bfloat16 or float16."""
    num_rows = num_tokens * num_heads // num_kv_heads
    return -(-num_rows // _row_tile(num_rows))


def _row_tile(num_rows: int) -> int:
    return min(64, max(16, _power_of_two(num_rows)))


def _power_of_two(least: int) -> int:
    return 1 << max(least - 1, 0).bit_length()


def _check(
    q: torch.Tensor,
    pointers: torch.Tensor,
    layer: int,
    new_keys: torch.Tensor,
    new_values: torch.Tensor,
    visible: torch.Tensor,
    num_splits: int,
    out: torch.Tensor,
) -> None:
    R, T, num_heads, head_dim = q.shape
    num_kv_heads = new_keys.shape[-2]
    if not 1 <= R * T <= MAX_TOKENS:
        raise ValueError(f"{R * T} new tokens: attend_split takes 1 to {MAX_TOKENS} in a pass.")
    if head_dim not in (16, 32, 64, 128, 256):
        raise ValueError(f"head_dim {head_dim}: attend_split takes 16, 32, 64, 128 or 256.")
    if num_heads % num_kv_heads:
        raise ValueError(f"{num_heads} query heads cannot share {num_kv_heads} key-value heads.")
    if pointers.dtype != torch.int64 or not 0 <= layer < pointers.shape[0]:
        raise ValueError(f"The addresses must be int64 (num_layers, 2) and hold layer {layer}.")
    if not 1 <= num_splits <= MAX_SPLITS:
        raise ValueError(f"num_splits {num_splits}: use 1 to {MAX_SPLITS} (see num_splits_for).")
    bits, new = (torch.bool, torch.uint8), (R, T, num_kv_heads, head_dim)
    _check_tensor("q", q, (q.dtype,), q.shape)
    _check_tensor("new_keys", new_keys, (q.dtype,), new)
    _check_tensor("new_values", new_values, (q.dtype,), new)
    _check_tensor("visible", visible, bits, (R, T, T))
    _check_tensor("out", out, (q.dtype,), (R, T, num_heads * head_dim))


def _check_tensor(
    name: str, tensor: torch.Tensor, dtypes: tuple[torch.dtype, ...], shape: tuple[int, ...]
) -> None:
    if tensor.dtype not in dtypes or tensor.shape != shape or not tensor.is_contiguous():
        wanted = " or ".join(str(dtype) for dtype in dtypes)
        raise ValueError(f"{name} must be {wanted}, {tuple(shape)} and contiguous.")
