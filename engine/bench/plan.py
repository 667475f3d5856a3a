"""Plan: the options of a run with everything that they leave open filled in."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

from engine.bench.compare_case import NUM_TOKENS
from engine.bench.forward_case import PASS_MODES, Grid, PassMode
from engine.bench.neighbours import default_counts
from engine.bench.paths import EnginePath, parse_paths
from engine.bench.peers import PeerChoice
from engine.bench.shapes import shape_config
from engine.config import EngineConfig
from engine.errors import EngineError
from engine.messages.completion import Mode

_EVEN_CASES = ("compare", "contention")
_SHAPED_CASES = ("forward", "cycles", "prefill")
TIMED_CASES = ("forward", "cycles", "prefill", "completion", "compare", "contention")
_ALL_CASES = (*TIMED_CASES, "cancel", "memory", "lsp")
# Of the rounds; loading, the discarded rounds and the cases without rounds take as long again.
_QUICK_MINUTES = 0.5

# What each size is if it is not given: quick, on a CPU, on a GPU.
_SIZES: dict[str, tuple[list[Any], list[Any], list[Any]]] = {
    "blocks": ([8, 1, 32], [8, 1, 16, 32, 64], [32, 1, 8, 16, 64]),
    "rows": ([1, 4], [1, 2, 4, 8], [1, 2, 4, 8]),
    "cached": ([256, 1024], [512, 256, 2048, 8192, 32768], [2048, 256, 512, 8192, 32768]),
    "lengths": ([256], [128, 512, 2048], [512, 2048, 8192, 32768]),
    "tokens": ([8], [8, 24, 64], [8, 24, 64]),
    "thresholds": ([0.5, 0.9], [0.3, 0.5, 0.7, 0.8, 0.9, 0.95], [0.3, 0.5, 0.7, 0.8, 0.9, 0.95]),
}
_NUMBERS = {"rounds": (7, 9, 9), "prompts": (2, 8, 8), "prefix_chars": (600, 3_000, 6_000)}


@dataclass(frozen=True, slots=True)
class Plan:
    """cases: in the order in which they are run. max_s: of the timed rounds of all of them.
    even_tokens: of a completion in the cases compare and contention; neighbours: numbers of busy
    processes, none among them. accepted: tokens that a cycle emits in case cycles. profiles:
    whether passes are profiled, too."""

    cases: tuple[str, ...]
    common: EngineConfig
    paths: tuple[EnginePath, ...]
    shape: str | None
    peers: PeerChoice
    grid: Grid
    lengths: tuple[int, ...]
    token_counts: tuple[int, ...]
    modes: tuple[Mode, ...]
    thresholds: tuple[float, ...]
    even_tokens: int
    neighbours: tuple[int, ...]
    accepted: int
    num_rounds: int
    num_prompts: int
    prefix_chars: int
    seed: int
    max_s: float | None
    is_quick: bool
    is_small: bool = False
    profiles: bool = False

    def to_json(self) -> dict[str, Any]:
        """What was asked, without paths of files."""
        return {
            "cases": list(self.cases),
            "model": self.common.model.rstrip("/").rpartition("/")[2],
            "shape": self.shape,
            "paths": {path.name: path.options for path in self.paths},
            "num_rounds": self.num_rounds,
            "seed": self.seed,
            "quick": self.is_quick,
            "num_prompts": self.num_prompts,
            "prefix_chars": self.prefix_chars,
        }


def plan_of(args: argparse.Namespace) -> Plan:
    """Raises EngineError when options do not go together."""
    cases: tuple[str, ...] = _ALL_CASES if args.case == "all" else (args.case,)
    if args.shape is not None:
        shape_config(args.shape)
        if args.case == "all":
            cases = _SHAPED_CASES
        elif args.case not in _SHAPED_CASES:
            raise EngineError(
                f"Random weights answer no request: case {args.case} needs a model, not --shape."
            )
    column = _column(args)
    sizes = {name: getattr(args, name) or columns[column] for name, columns in _SIZES.items()}
    numbers = {name: getattr(args, name) or columns[column] for name, columns in _NUMBERS.items()}
    minutes = args.minutes or (_QUICK_MINUTES if args.quick else None)
    modes = cast("Sequence[PassMode]", args.modes or PASS_MODES)
    return Plan(
        cases=cases,
        common=EngineConfig(model=args.model, device=args.device, num_threads=args.threads),
        paths=tuple(parse_paths(args.paths)),
        shape=args.shape,
        peers=PeerChoice(
            not args.no_transformers, args.llama_python, tuple(args.gguf), args.llama_threads
        ),
        grid=Grid(modes, sizes["blocks"], sizes["rows"], sizes["cached"], args.full_grid),
        lengths=tuple(sizes["lengths"]),
        token_counts=tuple(sizes["tokens"]),
        modes=tuple(args.completion_modes or ("auto", "ar")),
        thresholds=tuple(sizes["thresholds"]),
        even_tokens=args.tokens[0] if args.tokens and args.case in _EVEN_CASES else NUM_TOKENS,
        neighbours=_neighbours(args),
        accepted=args.accepted,
        num_rounds=numbers["rounds"],
        num_prompts=numbers["prompts"],
        prefix_chars=numbers["prefix_chars"],
        seed=args.seed,
        max_s=None if minutes is None else minutes * 60,
        is_quick=args.quick,
        profiles=_profiles(args, cases),
    )


def _profiles(args: argparse.Namespace, cases: Sequence[str]) -> bool:
    if args.profile is not None and "forward" not in cases:
        raise EngineError(f"--profile is for the case forward, not for {args.case}.")
    return args.profile is not None


def _neighbours(args: argparse.Namespace) -> tuple[int, ...]:
    if args.neighbours is not None:
        return tuple(dict.fromkeys((0, *args.neighbours)))
    counts = default_counts()
    return (counts[0], counts[-1]) if args.quick else counts


def _column(args: argparse.Namespace) -> int:
    if args.quick:
        return 0
    if args.device != "auto":
        return 2 if args.device.startswith("cuda") else 1
    import torch

    return 2 if torch.cuda.is_available() else 1
