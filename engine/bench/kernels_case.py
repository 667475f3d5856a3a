"""Case kernels: each Triton kernel beside its torch twin, timed on a GPU or checked once anywhere.

A kernel takes microseconds, less than its launch: many calls are captured in one CUDA graph and
timed together, each on operands of its own where a pass would find them in memory.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch

from engine.bench.ceilings import CeilingProbe
from engine.bench.machine import describe_machine
from engine.bench.rounds import Progress, Schedule, Variant, best_ms, measure
from engine.bench.shapes import SHAPES, shape_config
from engine.bench.table import floor_figures
from engine.bench.timing import Sample, tells_waiting, timed
from engine.errors import EngineError
from engine.kernels import problem

if TYPE_CHECKING:
    from engine.bench.kernel_works import Call, KernelWork

KERNEL_SHAPES = ("3b", "8b", "14b")
TOKEN_COUNTS = (1, 32, 64)
NUM_ROUNDS = 9
TINY = "tiny"
_CACHED = 2048
_CALLS = 24
# More than the caches of chips hold.
_COLD_BYTES = 256e6
_TOLERANCE = 2e-2
# For which `TINY` stands as the name of a shape.
_TINY_SIZES: dict[str, Any] = {
    "hidden_size": 96,
    "intermediate_size": 160,
    "num_heads": 4,
    "num_kv_heads": 2,
    "head_dim": 32,
    "vocab_size": 1500,
}


@dataclass(frozen=True, slots=True)
class KernelsPlan:
    """interpret: nothing is timed; every kernel runs once, interpreted, on tiny operands."""

    device: torch.device
    shapes: Sequence[str] = KERNEL_SHAPES
    token_counts: Sequence[int] = TOKEN_COUNTS
    num_rounds: int = NUM_ROUNDS
    seed: int = 0
    interpret: bool = False


def kernels_plan(args: argparse.Namespace) -> KernelsPlan:
    """From the options of `nemodiff bench kernels`. Raises EngineError for a wrong device."""
    if args.interpret:
        return KernelsPlan(torch.device("cpu"), num_rounds=0, seed=args.seed, interpret=True)
    has_gpu = torch.cuda.is_available()
    wanted = ("cuda" if has_gpu else "cpu") if args.device == "auto" else args.device
    try:
        device = torch.device(wanted)
    except RuntimeError:
        raise EngineError(f"Device {wanted} is not known; use cuda or cuda:N.") from None
    if device.type == "cuda" and has_gpu and (device.index or 0) >= torch.cuda.device_count():
        raise EngineError(
            f"Device {wanted} is not there; use one below {torch.cuda.device_count()}."
        )
    return KernelsPlan(
        device,
        tuple(args.shapes or KERNEL_SHAPES),
        tuple(args.tokens or TOKEN_COUNTS),
        args.rounds or NUM_ROUNDS,
        args.seed,
    )


def kernels_problem(plan: KernelsPlan) -> str | None:
    """Why the kernels can neither be timed nor, with `interpret`, be checked here."""
    if plan.interpret:
        return problem(plan.device)
    if plan.device.type != "cuda" or not torch.cuda.is_available():
        return (
            "Kernels are timed on a GPU only, and there is none here; --interpret runs each of "
            "them once and checks it."
        )
    return problem(plan.device)


def kernels_report(
    plan: KernelsPlan, progress: Progress = lambda phase, done, total: None
) -> dict[str, Any]:
    """The report as JSON values. Raises EngineError when a kernel is not equal to its twin."""
    report: dict[str, Any] = {
        "format": 1,
        "machine": describe_machine(plan.device),
        "settings": {"num_rounds": plan.num_rounds, "seed": plan.seed},
        "subjects": [],
        "tells_waiting": tells_waiting(),
        "cases": {},
    }
    if plan.interpret:
        report["cases"]["kernels"] = _checked_rows(plan)
        return report
    rows: list[dict[str, Any]] = []
    for shape in plan.shapes:
        rows += _timed_rows(plan, shape, report, progress)
    report["cases"]["kernels"] = rows
    return report


@torch.inference_mode()
def _checked_rows(plan: KernelsPlan) -> list[dict[str, Any]]:
    from engine.kernels.interpreter import mend_interpreter

    mend_interpreter()
    rows = []
    for num_tokens in (1, 5):
        for one in _works(plan, TINY, num_tokens):
            _check(one, TINY, num_tokens)
            rows.append(_row(one, TINY, num_tokens))
    return rows


@torch.inference_mode()
def _timed_rows(
    plan: KernelsPlan, shape: str, report: dict[str, Any], progress: Progress
) -> list[dict[str, Any]]:
    probe = CeilingProbe(plan.device, ["bfloat16"], small=shape == TINY)
    variants = probe.variants()
    named: dict[str, tuple[int, KernelWork]] = {}
    for num_tokens in plan.token_counts:
        for at, one in enumerate(_works(plan, shape, num_tokens)):
            _check(one, shape, num_tokens)
            same = [one, *(_work(plan, shape, num_tokens, at) for _ in range(_num_more(one)))]
            name = f"{one.kernel} {num_tokens}"
            named[name] = num_tokens, one
            variants += _variants(plan.device, name, same)
    measured = measure(variants, Schedule(plan.num_rounds, plan.seed), progress, f"kernels {shape}")
    ceilings = probe.read([measured])
    report["ceilings"] = ceilings.to_json()
    rows = []
    for name, (num_tokens, one) in named.items():
        found, twin = (measured.figures(f"{name} {way}") for way in ("kernel", "twin"))
        floor_ms = ceilings.floor(one.work, "bfloat16").ms
        rows.append(
            {
                **_row(one, shape, num_tokens),
                **found,
                "twin_median_ms": twin["median_ms"],
                "ratio": measured.ratio(f"{name} kernel", f"{name} twin"),
                **floor_figures(one.work, "bfloat16", best_ms(found), ceilings),
                # Fractions of a microsecond.
                "floor_ms": float(f"{floor_ms:.3g}"),
            }
        )
    return rows


def _row(one: KernelWork, shape: str, num_tokens: int) -> dict[str, Any]:
    """What is known of each kernel that `_check` let pass."""
    return {"kernel": one.kernel, "shape": shape, "tokens": num_tokens, "equal": "yes"}


def _works(plan: KernelsPlan, shape: str, num_tokens: int) -> list[KernelWork]:
    from engine.bench.kernel_works import MAKERS

    return [_work(plan, shape, num_tokens, at) for at in range(len(MAKERS))]


def _work(plan: KernelsPlan, shape: str, num_tokens: int, at: int) -> KernelWork:
    """The kernel number `at`, on operands drawn anew."""
    from engine.bench.kernel_works import MAKERS, Operands

    is_tiny = shape == TINY
    config = shape_config(KERNEL_SHAPES[0] if is_tiny else shape)
    config = replace(config, **_TINY_SIZES) if is_tiny else config
    rank = 24 if is_tiny else SHAPES[shape].draft_rank
    generator = torch.Generator(plan.device).manual_seed(plan.seed)
    cached = 37 if is_tiny else _CACHED
    return MAKERS[at](Operands(config, rank, num_tokens, cached, plan.device, generator))


def _num_more(one: KernelWork) -> int:
    """Further sets of operands, so that none is in the chip's cache when its turn comes again."""
    return min(_CALLS, math.ceil(_COLD_BYTES / one.work.num_bytes)) - 1 if one.is_cold else 0


def _check(one: KernelWork, shape: str, num_tokens: int) -> None:
    for found, expected in zip(one.run(), one.twin(), strict=True):
        if not _is_close(found, expected):
            raise EngineError(
                f"Kernel {one.kernel} is not equal to its twin (shape {shape}, {num_tokens} "
                "token(s)): its time would mean nothing."
            )


def _is_close(found: torch.Tensor, expected: torch.Tensor) -> bool:
    if found.shape != expected.shape or found.dtype != expected.dtype:
        return False
    if not found.is_floating_point():
        return torch.equal(found, expected)
    most = float(expected.float().abs().max())
    return bool((found.float() - expected.float()).abs().max() <= _TOLERANCE * most)


def _variants(device: torch.device, name: str, same: Sequence[KernelWork]) -> list[Variant]:
    runs, twins = [one.run for one in same], [one.twin for one in same]
    return [
        Variant(f"{name} kernel", _sampler(device, runs, captures=True)),
        Variant(f"{name} twin", _sampler(device, twins, captures=not same[0].twin_syncs)),
    ]


def _sampler(
    device: torch.device, calls: Sequence[Call], *, captures: bool
) -> Callable[[int], Sample]:
    """Times `_CALLS` calls at least, each of `calls` as often; the sample is the time of one, by
    the device's clock."""
    times = math.ceil(_CALLS / len(calls))

    def work() -> None:
        for _ in range(times):
            for call in calls:
                call()

    # Kernels are compiled, and workspaces taken, before anything is captured.
    work()
    run = _captured(device, work) if captures and device.type == "cuda" else work

    def sample(number: int) -> Sample:
        one = timed(device, run)
        # `calls` keeps the operands, which a graph knows by their addresses only.
        each = (one.ms if one.device_ms is None else one.device_ms) / (times * len(calls))
        return Sample(each, one.waiting)

    return sample


def _captured(device: torch.device, work: Callable[[], None]) -> Callable[[], object]:
    torch.cuda.synchronize(device)
    graph: Any = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        work()
    replay: Callable[[], object] = graph.replay
    return replay
