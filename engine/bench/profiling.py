"""Where the time of a pass goes: the kernels that it launches, by torch.profiler.

The shares are of the wall time of whole passes, one after the other with a wait between them, and
profiling itself makes the host slower: they say what a graph may save, not how fast a pass is.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import product
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from engine.bench.forward_case import Grid, Point, pass_of
from engine.bench.subject import Subject

_NUM_CALLS = 5
_NUM_KERNELS = 20
_MAX_NAME_CHARS = 80


def profile_rows(subjects: Sequence[Subject], grid: Grid) -> list[dict[str, Any]]:
    """JSON objects, one for each kernel of the first block, rows and cached length of `grid`, in
    each of its modes on each path; the first of each (``kernel`` = ``all``) is the whole pass."""
    first = Grid(grid.modes, grid.blocks[:1], grid.rows[:1], grid.cached[:1])
    points = first.points(subjects[0].decoder.config)
    return [row for point, subject in product(points, subjects) for row in _rows(subject, point)]


def _rows(subject: Subject, point: Point) -> list[dict[str, Any]]:
    events, wall_us = _profiled(subject, point)
    on_gpu = subject.device.type == "cuda"
    found = [(each, _busy_us(each, on_gpu)) for each in events]
    found = sorted((pair for pair in found if pair[1] > 0), key=lambda pair: -pair[1])
    keys = {"path": subject.path, "pass": point.name, "device": subject.device.type}
    total = [("all", sum(each.count for each, _ in found), sum(busy for _, busy in found))]
    parts = [(_short(each.key), each.count, busy) for each, busy in found[:_NUM_KERNELS]]
    return [
        {
            **keys,
            "kernel": name,
            "count": round(count / _NUM_CALLS, 1),
            "us": round(busy / _NUM_CALLS, 1),
            "share": round(busy / wall_us, 4),
        }
        for name, count, busy in total + parts
    ]


def _profiled(subject: Subject, point: Point) -> tuple[list[Any], float]:
    """Events of some passes, and their wall time in microseconds."""
    run, on_gpu = pass_of(subject, point), subject.device.type == "cuda"
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]

    def once() -> None:
        run()
        if on_gpu:
            torch.cuda.synchronize(subject.device)

    once()
    once()
    with profile(activities=activities) as profiler:
        started = time.perf_counter()
        for _ in range(_NUM_CALLS):
            once()
        wall_us = (time.perf_counter() - started) * 1e6
    return list(profiler.key_averages()), wall_us


def _busy_us(event: Any, on_gpu: bool) -> float:
    """Microseconds in this kernel itself; 0 for what is not one."""
    if not on_gpu:
        return float(event.self_cpu_time_total)
    is_kernel = event.device_type.name == "CUDA"
    return float(event.self_device_time_total) if is_kernel else 0.0


def _short(name: str) -> str:
    return name if len(name) <= _MAX_NAME_CHARS else name[: _MAX_NAME_CHARS - 3] + "..."
