"""Which device, dtype and thread count the engine uses, and why.

Called by the engine at load, by `nemodiff engine status` and by `nemodiff doctor`. A choice is
never silent: every field has its reason, and an explicit wish that cannot be met is an error.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import torch

from engine.config import WEIGHTS, Weights
from engine.errors import EngineError

if TYPE_CHECKING:
    from engine.quantised.rounding import Kind

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
_MAX_NATIVE_THREADS = 4


@dataclass(frozen=True, slots=True)
class DeviceChoice:
    """device and dtype as torch knows them; num_threads for CPU work; one reason per choice.

    weights: how the linear layers may be stored: ``full`` (in dtype), ``int8``, ``int4``, ``fp8``,
    or ``auto``, which is left to a measurement when the model is loaded. native_threads: how many
    the int8 kernels of a CPU may choose from, the fewest first.
    """

    device: torch.device
    dtype: torch.dtype
    num_threads: int
    reasons: tuple[str, ...]
    weights: Weights = "full"
    native_threads: tuple[int, ...] = (1,)

    @property
    def rounding(self) -> Kind | None:
        """What the weights are rounded to by engine.quantised; the int8 of a CPU is not its."""
        if self.weights == "auto" or self.weights == "full":
            return None
        is_native = self.weights == "int8" and self.device.type == "cpu"
        return None if is_native else self.weights

    @property
    def reason(self) -> str:
        return " ".join(self.reasons)


def choose_device(
    device: str, dtype: str, num_threads: int | None, weights: Weights = "full"
) -> DeviceChoice:
    """Resolve ``auto`` values. Raises EngineError when an explicit wish cannot be met."""
    chosen_device, device_reason = _choose_device(device)
    chosen_dtype, dtype_reason = _choose_dtype(dtype, chosen_device)
    threads, thread_reason = _choose_threads(num_threads)
    return DeviceChoice(
        chosen_device,
        chosen_dtype,
        threads,
        (device_reason, dtype_reason, thread_reason),
        _choose_weights(weights, chosen_device, dtype),
        (num_threads,) if num_threads is not None else _native_threads(),
    )


def _choose_weights(wish: Weights, device: torch.device, dtype_wish: str) -> Weights:
    if wish not in WEIGHTS:
        known = f"{', '.join(WEIGHTS[:-1])} or {WEIGHTS[-1]}"
        raise EngineError(f"Weights {wish!r} are not known: use {known}.")
    # Who names a dtype wants the numbers of that dtype.
    if wish == "auto" and (device.type != "cpu" or dtype_wish != "auto"):
        return "full"
    return wish


def _native_threads() -> tuple[int, ...]:
    """One physical core stays free for the editor; of two, both may be used where it pays off: a
    thread that loses its core holds up one chunk of the work, not all of it."""
    physical = min(psutil.cpu_count(logical=False) or 1, _num_cores())
    if physical == 2:
        return (1, 2)
    return (max(1, min(_MAX_NATIVE_THREADS, physical - 1)),)


def _num_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _choose_device(wish: str) -> tuple[torch.device, str]:
    if wish == "cpu":
        return torch.device("cpu"), "Device cpu: asked for."
    has_cuda = torch.cuda.is_available()
    if wish.partition(":")[0] == "cuda":
        if not has_cuda:
            raise EngineError(
                f"Device {wish} was asked for, but torch {torch.__version__} finds no CUDA device: "
                "install a CUDA build of torch and a driver, or ask for cpu."
            )
        index = wish.partition(":")[2] or "0"
        if not index.isdigit() or int(index) >= torch.cuda.device_count():
            raise EngineError(
                f"Device {wish} does not exist: torch finds {torch.cuda.device_count()} of them."
            )
        return torch.device("cuda", int(index)), f"Device {wish}: asked for."
    if wish != "auto":
        raise EngineError(f"Device {wish!r} is not known: use auto, cpu, cuda or cuda:N.")
    if has_cuda:
        name = torch.cuda.get_device_name(0)
        return torch.device("cuda", 0), f"Device cuda:0: torch finds {name}."
    return torch.device("cpu"), f"Device cpu: {_why_no_cuda()}"


def _why_no_cuda() -> str:
    if Path("/proc/driver/nvidia/version").exists() and torch.version.cuda is None:
        return (
            f"an NVIDIA driver is installed, but torch {torch.__version__} is a CPU build: "
            "install a CUDA build of torch to use the GPU."
        )
    return f"torch {torch.__version__} finds no CUDA device."


def _choose_dtype(wish: str, device: torch.device) -> tuple[torch.dtype, str]:
    if wish in _DTYPES:
        return _DTYPES[wish], f"Dtype {wish}: asked for."
    if wish != "auto":
        raise EngineError(f"Dtype {wish!r} is not known: use auto, float32 or bfloat16.")
    if device.type == "cuda":
        if torch.cuda.is_bf16_supported(including_emulation=False):
            return torch.bfloat16, "Dtype bfloat16: the GPU computes it natively."
        return torch.float32, "Dtype float32: the GPU has no native bfloat16."
    if _cpu_has_bf16():
        return torch.bfloat16, "Dtype bfloat16: oneDNN has bfloat16 kernels for this CPU."
    return torch.float32, "Dtype float32: oneDNN has no bfloat16 kernels for this CPU."


def _cpu_has_bf16() -> bool:
    try:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    except (AttributeError, RuntimeError):
        return False


def _choose_threads(wish: int | None) -> tuple[int, str]:
    cores = _num_cores()
    if wish is not None:
        if not 1 <= wish <= 256:
            raise EngineError(f"Thread count {wish} must lie between 1 and 256.")
        return wish, f"Threads {wish}: asked for."
    if cores <= 2:
        # A second thread on a machine that also runs an editor and a language server waits at
        # every barrier for a core that is taken.
        return 1, f"Threads 1: {cores} core(s), the rest is left to the editor."
    # Logical cores are usually twice the physical ones; half of those stay free.
    threads = max(1, min(4, cores // 4))
    return threads, f"Threads {threads}: {cores} logical cores, at least half left free."
