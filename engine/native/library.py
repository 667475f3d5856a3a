"""The shared library through ctypes: its operations, with shapes checked before the call.

A call releases the GIL. Calls are made one at a time, whichever thread makes them.
"""

from __future__ import annotations

import ctypes
from ctypes import c_int32, c_int64, c_void_p
from functools import cache
from typing import Any, Literal

import torch

from engine.models.survey import Survey
from engine.native import NativeError
from engine.native.build import find_library
from engine.native.calls import AttentionCall, LinearCall, SurveyCall

GROUP = 64
COLUMNS = 32
KERNELS = ("avx512vnni", "avxvnni", "avx2", "neon", "scalar")
_TYPES = {torch.float32: 0, torch.bfloat16: 1}
_NOTHING, _RMS_NORM, _SILU_MUL = range(3)
_MAX_HEAD_DIM = 256
_num_threads: int | None = None


@cache
def library() -> ctypes.CDLL:
    """The library, built and opened on the first call. Raises NativeError."""
    path = find_library()
    try:
        found = ctypes.CDLL(str(path))
        found.nemodiff_kernels.restype = ctypes.c_char_p
        found.nemodiff_choose_kernels.argtypes = [ctypes.c_char_p]
        found.nemodiff_set_threads.argtypes = [c_int32]
        found.nemodiff_set_threads.restype = None
        found.nemodiff_packed_bytes.argtypes = [c_int64, c_int64]
        found.nemodiff_packed_bytes.restype = c_int64
        found.nemodiff_pack.argtypes = [c_void_p, c_int32, c_int64, c_int64, c_void_p]
        for operation in ("pack", "linear", "attention", "survey"):
            getattr(found, f"nemodiff_{operation}").restype = None
    except (OSError, AttributeError) as error:
        raise NativeError(f"{path.name} cannot be opened ({type(error).__name__})") from None
    return found


def kernels() -> str:
    """Name of the kernels in use: one of KERNELS."""
    name: bytes = library().nemodiff_kernels()
    return name.decode()


def choose_kernels(name: str) -> bool:
    """Use the kernels called `name`; False where this processor cannot run them."""
    return bool(library().nemodiff_choose_kernels(name.encode()))


def set_threads(num_threads: int) -> None:
    """How many threads work on a call, the caller's own among them."""
    global _num_threads
    library().nemodiff_set_threads(num_threads)
    _num_threads = num_threads


def num_threads() -> int | None:
    """As many as were set last; None before that."""
    return _num_threads


def fits(M: int, K: int) -> bool:
    """Whether a weight (M, K) can be packed; other layers stay with torch."""
    return M > 0 and K > 0 and M % COLUMNS == 0 and K % GROUP == 0


def fits_head(head_dim: int) -> bool:
    """Whether `attention` can be used with heads of this width."""
    return head_dim % 64 == 0 and head_dim <= _MAX_HEAD_DIM


def packed_bytes(M: int, K: int) -> int:
    return M * K + M * K // GROUP * 4


def pack(weight: torch.Tensor, packed: torch.Tensor) -> None:
    """(M, K) fp32 or bf16 -> packed uint8 (packed_bytes,), at a multiple of 4 bytes."""
    M, K = weight.shape
    assert fits(M, K) and packed.numel() == packed_bytes(M, K) and packed.data_ptr() % 4 == 0
    weight = weight.contiguous()
    library().nemodiff_pack(weight.data_ptr(), _TYPES[weight.dtype], M, K, packed.data_ptr())


def linear(
    x: torch.Tensor,
    packed: torch.Tensor,
    bias: torch.Tensor | None,
    out: torch.Tensor,
    *,
    add: bool = False,
    before: tuple[torch.Tensor, float] | Literal["silu"] | None = None,
    keep_input: torch.Tensor | None = None,
    adapter: tuple[torch.Tensor, torch.Tensor, slice] | None = None,
) -> None:
    """out (N, M) = f(x) W^T + bias, with `add` on top of what is there; fp32 or bf16 each.

    f by `before`: a weight fp32 (K,) and epsilon = RMSNorm of x (N, K); ``silu`` = silu(gate) * up
    of x (N, 2 K) that holds gate, then up; None = x (N, K) itself. keep_input (N, K): takes f(x).
    adapter: packed (R, K), packed (M, R), and the rows that get the product of both on top.
    bias fp32 (M,).
    """
    N, M = out.shape
    K = x.shape[1] // 2 if before == "silu" else x.shape[1]
    assert x.shape[0] == N and packed.numel() == packed_bytes(M, K)
    assert x.is_contiguous() and out.is_contiguous()
    assert bias is None or (bias.dtype == torch.float32 and bias.shape == (M,))
    norm = before if isinstance(before, tuple) else None
    if norm is not None:
        assert norm[0].dtype == torch.float32 and norm[0].shape == (K,)
    if keep_input is not None:
        assert keep_input.shape == (N, K) and keep_input.is_contiguous()
    first, last, _ = adapter[2].indices(N) if adapter else (0, 0, 1)
    R = _rank(adapter, M, K) if adapter else 0
    if N == 0:
        return
    call = LinearCall(
        x.data_ptr(),
        _TYPES[x.dtype],
        _SILU_MUL if before == "silu" else _RMS_NORM if norm else _NOTHING,
        norm[0].data_ptr() if norm else None,
        norm[1] if norm else 0.0,
        packed.data_ptr(),
        None if bias is None else bias.data_ptr(),
        out.data_ptr(),
        _TYPES[out.dtype],
        add,
        None if keep_input is None else keep_input.data_ptr(),
        0 if keep_input is None else _TYPES[keep_input.dtype],
        adapter[0].data_ptr() if adapter else None,
        adapter[1].data_ptr() if adapter else None,
        N,
        K,
        M,
        R,
        first,
        max(first, last),
    )
    library().nemodiff_linear(ctypes.byref(call))


def _rank(adapter: tuple[torch.Tensor, torch.Tensor, slice], M: int, K: int) -> int:
    """R of an adapter that belongs to a weight (M, K)."""
    down, up, rows = adapter
    R = down.numel() // packed_bytes(1, K)
    assert fits(R, K) and fits(M, R) and rows.step in (None, 1)
    assert down.numel() == packed_bytes(R, K) and up.numel() == packed_bytes(M, R)
    return R


def attention(
    qkv: torch.Tensor,
    angles: tuple[torch.Tensor, torch.Tensor],
    q_scale: torch.Tensor | None,
    cache: tuple[torch.Tensor, torch.Tensor],
    length: int,
    visible: torch.Tensor | None,
    out: torch.Tensor,
) -> None:
    """Rotate q and k of T new tokens, write k and v into the cache behind `length`, attend.

    qkv fp32 (T, (H + 2 K) * D); angles: cos and sin fp32 (T, D); q_scale fp32 (T,); cache: keys and
    values (K, capacity, D); visible bool (T, T) or (1, T, T) as in `attend`; out fp32 (T, H * D).
    """
    keys, values = cache
    T, (num_kv_heads, capacity, D) = out.shape[0], keys.shape
    num_heads = out.shape[1] // D
    assert qkv.shape == (T, (num_heads + 2 * num_kv_heads) * D) and length + T <= capacity
    assert keys.is_contiguous() and values.is_contiguous() and keys.shape == values.shape
    tensors: list[Any] = [qkv, *angles, out]
    assert all(each.dtype == torch.float32 and each.is_contiguous() for each in tensors)
    assert fits_head(D) and num_heads % num_kv_heads == 0
    if visible is not None:
        assert visible.numel() == T * T and visible.dtype == torch.bool
        visible = visible.contiguous()
    call = AttentionCall(
        qkv.data_ptr(),
        angles[0].data_ptr(),
        angles[1].data_ptr(),
        None if q_scale is None else q_scale.data_ptr(),
        keys.data_ptr(),
        values.data_ptr(),
        _TYPES[keys.dtype],
        None if visible is None else visible.data_ptr(),
        out.data_ptr(),
        T,
        length,
        capacity * D,
        num_heads,
        num_kv_heads,
        D,
    )
    library().nemodiff_attention(ctypes.byref(call))


def fits_survey(logits: torch.Tensor) -> bool:
    """Whether `survey` takes such logits."""
    is_plain = logits.dtype == torch.float32 and logits.is_contiguous()
    return is_plain and logits.device.type == "cpu"


def survey(logits: torch.Tensor, penalty: torch.Tensor, end_ids: torch.Tensor) -> Survey:
    """As `engine.models.survey.survey`, for logits fp32 (N, V), in one look at them. A NaN is never
    chosen and shows in the normaliser."""
    assert fits_survey(logits) and logits.shape[1:] == penalty.shape
    call = SurveyCall(logits=logits.data_ptr())
    return _survey(call, logits.shape[0], penalty, end_ids)


def head_survey(
    hidden: torch.Tensor, packed: torch.Tensor, penalty: torch.Tensor, end_ids: torch.Tensor
) -> Survey:
    """`survey` of the logits of hidden fp32 or bf16 (N, K) and the packed head (V, K), bit for bit,
    without writing them."""
    K, V = hidden.shape[1], penalty.shape[0]
    assert fits(V, K) and packed.numel() == packed_bytes(V, K) and hidden.is_contiguous()
    call = SurveyCall(
        x=hidden.data_ptr(), x_type=_TYPES[hidden.dtype], weights=packed.data_ptr(), K=K
    )
    return _survey(call, hidden.shape[0], penalty, end_ids)


def _survey(call: SurveyCall, N: int, penalty: torch.Tensor, end_ids: torch.Tensor) -> Survey:
    """Of N rows of what `call` has as its source."""
    assert penalty.dtype == torch.float32 and penalty.is_contiguous()
    assert end_ids.dtype == torch.int64 and end_ids.is_contiguous() and end_ids.dim() == 1
    tokens = torch.empty(N, dtype=torch.int64)
    best, second, largest, total = floats = torch.empty(4, N)
    ends = torch.full((N, len(end_ids)), float("-inf"))
    call.penalty, call.end_ids, call.tokens = (
        each.data_ptr() for each in (penalty, end_ids, tokens)
    )
    call.best, call.second, call.largest, call.total = (row.data_ptr() for row in floats)
    call.ends = ends.data_ptr()
    call.N, call.V, call.E = N, penalty.shape[0], len(end_ids)
    if N:
        library().nemodiff_survey(ctypes.byref(call))
    return Survey(tokens, best, second, largest + total.log(), torch.logsumexp(ends, dim=-1))
