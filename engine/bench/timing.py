"""One timed call, and how much of it was spent waiting for a processor."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

_TASKS = Path("/proc/self/task")

MAX_WAITING = 0.05
"""A sample in which some thread waited for a processor longer than this share is a noisy one."""


@dataclass(frozen=True, slots=True)
class Sample:
    """ms: wall time of the call. waiting: the largest share of it that one thread of the process
    stood in the run queue (0.0 where the system does not tell). device_ms: between two events of
    the device, None on a CPU."""

    ms: float
    waiting: float = 0.0
    device_ms: float | None = None

    @property
    def is_noisy(self) -> bool:
        return self.waiting > MAX_WAITING


def tells_waiting() -> bool:
    """Whether this system counts the time that threads wait for a processor."""
    return bool(run_queue_ns())


def run_queue_ns(tasks: Path = _TASKS) -> dict[str, int]:
    """Nanoseconds in the run queue so far of each thread of this process; {} if not told."""
    waits: dict[str, int] = {}
    for path in tasks.glob("*/schedstat"):
        try:
            waits[path.parent.name] = int(path.read_text(encoding="ascii").split()[1])
        except (OSError, IndexError, ValueError):
            # A thread that has just ended, or a kernel without these figures.
            continue
    return waits


def waiting_share(before: dict[str, int], after: dict[str, int], elapsed_ns: int) -> float:
    """The largest share of `elapsed_ns` that one thread waited between two `run_queue_ns`."""
    waited = [now - before.get(thread, now) for thread, now in after.items()]
    return max(waited, default=0) / max(1, elapsed_ns)


def timed(device: torch.device, work: Callable[[], object]) -> Sample:
    """Do `work` and everything it has left in the queue of `device`."""
    on_gpu = device.type == "cuda"
    if on_gpu:
        event: Any = torch.cuda.Event
        start, end = event(enable_timing=True), event(enable_timing=True)
        torch.cuda.synchronize(device)
    before, started = run_queue_ns(), time.perf_counter_ns()
    if on_gpu:
        start.record()
    work()
    if on_gpu:
        end.record()
        torch.cuda.synchronize(device)
    elapsed = time.perf_counter_ns() - started
    share = waiting_share(before, run_queue_ns(), elapsed)
    return Sample(elapsed / 1e6, share, float(start.elapsed_time(end)) if on_gpu else None)
