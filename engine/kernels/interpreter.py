"""Repairs of Triton's interpreter (3.6), so that kernels need no second form for it."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import torch


@functools.cache
def mend_interpreter() -> None:
    """Three things that a GPU does and the interpreter does not: loops whose bounds a kernel has
    computed, products of bfloat16 tiles, and rounding to the nearest bfloat16."""
    from triton.runtime import interpreter

    interpreter._patch_lang_tensor = _with_index(interpreter._patch_lang_tensor)
    builder = interpreter.InterpreterBuilder
    builder.create_dot = _with_bfloat16(builder.create_dot)
    builder.cast_impl = _with_rounding(builder.cast_impl)


def _with_index(patch_tensor: Any) -> Any:
    """A scalar is an array of one element there, and since numpy 2.4 int() of one is an error."""

    def patched(tensor: Any, scope: Any) -> None:
        patch_tensor(tensor, scope)
        scope.set_attr(tensor, "__index__", lambda self: int(self.handle.data.item()))

    return patched


def _with_bfloat16(create_dot: Any) -> Any:
    """bfloat16 is kept as uint16 there, and tiles of it were multiplied as such."""
    import triton.language as tl

    def widened(builder: Any, tile: Any) -> Any:
        return builder.cast_impl(tile, tl.float32) if tile.dtype.scalar == tl.bfloat16 else tile

    def patched(builder: Any, a: Any, b: Any, *others: Any) -> Any:
        return create_dot(builder, widened(builder, a), widened(builder, b), *others)

    return patched


def _with_rounding(cast_impl: Any) -> Any:
    """float32 to bfloat16 cut the last bits off; other numbers became their value as bits."""
    import triton.language as tl
    from triton.runtime.interpreter import TensorHandle

    def patched(builder: Any, source: Any, target: Any) -> Any:
        if target.scalar == tl.bfloat16 and source.dtype.scalar not in (tl.float32, tl.bfloat16):
            source = cast_impl(builder, source, tl.float32)
        kinds = (source.dtype.scalar, target.scalar)
        if kinds == (tl.float32, tl.bfloat16):
            rounded = torch.from_numpy(np.ascontiguousarray(source.data)).bfloat16()
            return TensorHandle(rounded.view(torch.uint16).numpy(), target.scalar)
        if kinds == (tl.bfloat16, tl.float32):
            bits = torch.from_numpy(np.ascontiguousarray(source.data))
            return TensorHandle(bits.view(torch.bfloat16).float().numpy(), target.scalar)
        return cast_impl(builder, source, target)

    return patched
