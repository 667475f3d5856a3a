"""Triton kernels for a pass of up to 64 tokens on a GPU, each beside its slow twin in plain torch.

Kernel modules import triton at their top: nothing outside this package imports one of them unless
`problem` is None. Without a GPU they run in Triton's interpreter, which is for tests.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import os

import torch

# bfloat16 products, and asynchronous copies, begin with this compute capability.
_LEAST_CAPABILITY = (8, 0)
_NEEDS_GPU = "Triton kernels need a GPU; this is a CPU (TRITON_INTERPRET=1 interprets them)."


def problem(device: torch.device) -> str | None:
    """Why the kernels cannot be used on `device`; None where they can: on a GPU, or on a CPU when
    TRITON_INTERPRET=1 was in the environment before triton was imported. The interpreter is
    thousands of times slower than torch: no engine should take a None on a CPU as advice."""
    if importlib.util.find_spec("triton") is None:
        return "Triton is not installed (on Linux: `pip install triton`)."
    # Triton takes a while to import: not where it is of no use.
    if device.type == "cpu" and not os.environ.get("TRITON_INTERPRET"):
        return _NEEDS_GPU
    if device.type not in ("cpu", "cuda"):
        return f"Triton kernels are made for CUDA devices, not for {device.type}."
    try:
        asked, on = _interpreter()
    except ImportError as failure:
        return f"Triton cannot be imported ({failure}): install it anew."
    if device.type == "cpu":
        return _cpu_problem(asked, on)
    if asked or on:
        return "Triton interprets its kernels (TRITON_INTERPRET is set): unset it to use the GPU."
    if not torch.cuda.is_available():
        return "Triton kernels need a GPU, and torch finds no CUDA device."
    return _gpu_problem(torch.cuda.current_device() if device.index is None else device.index)


def _cpu_problem(asked: bool, on: bool) -> str | None:
    if not asked:
        return _NEEDS_GPU
    return None if on else "Triton was imported before TRITON_INTERPRET=1 was set: set it earlier."


def _interpreter() -> tuple[bool, bool]:
    """Whether kernels defined from now on are interpreted, and whether triton's own are."""
    import triton
    import triton.language as tl
    from triton.runtime.jit import JITFunction

    return bool(triton.knobs.runtime.interpret), not isinstance(tl.sum, JITFunction)


@functools.cache
def _gpu_problem(index: int) -> str | None:
    """The chip, and one kernel tried: triton needs a C compiler and Python's headers too, and
    tells so with its first launch only."""
    capability = torch.cuda.get_device_capability(index)
    if capability < _LEAST_CAPABILITY:
        return (
            f"Triton kernels need a GPU of compute capability 8.0 or newer; this one has "
            f"{capability[0]}.{capability[1]}."
        )
    try:
        return _trial(torch.device("cuda", index))
    # Compilers, drivers and linkers fail in ways that have no common type.
    except Exception as failure:
        told = (str(failure).strip() or type(failure).__name__).splitlines()[0][:200]
        return f"A Triton kernel could not be built or run here ({told})."


def _trial(device: torch.device) -> str | None:
    """One small kernel against its twin."""
    from engine.kernels.norm import rms_norm
    from engine.kernels.twins import rms_norm_twin

    x = torch.linspace(-2, 2, 3 * 48, device=device).view(3, 48)
    weight = torch.linspace(0.5, 1.5, 48, device=device)
    # A kernel runs on the current device, wherever its tensors are.
    with torch.cuda.device(device) if device.type == "cuda" else contextlib.nullcontext():
        found = rms_norm(x, weight, 1e-5, None)[0]
    if not torch.allclose(found, rms_norm_twin(x, weight, 1e-5, None)[0], atol=1e-5):
        return "A Triton kernel gives wrong results here: keep the GPU driver and triton in step."
    return None
