"""What all training commands have in common: their options, and the run itself."""

from __future__ import annotations

import argparse
import math
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.config import DEFAULT_MODEL
from engine.training.corpus.shards import LANGUAGES

if TYPE_CHECKING:
    from engine.training.loop import RunSettings
    from engine.training.objective import Objective
    from engine.training.setup import Base


def add_common(parser: argparse.ArgumentParser, *, rank: int | None, learning_rate: float) -> None:
    """Register the options; rank: the default of an adapter's, None where there is none."""
    parser.add_argument("--corpus", type=Path, required=True, metavar="DIR")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="the run's folder")
    parser.add_argument("--model", default=DEFAULT_MODEL, metavar="NAME")
    parser.add_argument("--languages", type=_languages, metavar="A,B", help="default: all")
    if rank is not None:
        parser.add_argument("--rank", type=whole(1), default=rank, metavar="N")
        parser.add_argument(
            "--start-from", type=Path, metavar="DIR", help="an adapter of that rank to go on from"
        )
    parser.add_argument("--learning-rate", type=_positive, default=learning_rate, metavar="X")
    parser.add_argument(
        "--steps", type=whole(1), required=True, metavar="N", help="of the schedule"
    )
    parser.add_argument("--warmup-steps", type=whole(0), default=10, metavar="N")
    parser.add_argument("--minutes", type=_positive, metavar="X", help="stop then, to be resumed")
    parser.add_argument("--evaluate-every", type=whole(0), default=0, metavar="STEPS")
    parser.add_argument(
        "--held-out", type=whole(1), default=48, metavar="N", help="held-out examples"
    )
    parser.add_argument("--max-tokens", type=whole(2), default=640, metavar="N", help="per example")
    parser.add_argument("--seed", type=whole(0), default=0, metavar="N")
    parser.add_argument("--device", default="auto", metavar="NAME")
    parser.add_argument("--dtype", default="auto", metavar="NAME")
    parser.add_argument("--threads", type=int, metavar="N")
    parser.add_argument("--offline", action="store_true", help="fetch nothing")
    parser.add_argument("--resume", action="store_true", help="go on where --out stopped")


def base_of(args: argparse.Namespace, **changes: Any) -> Base:
    """The model of the common options; changes: further arguments of `load_base`. Raises
    EngineError."""
    from engine.training.setup import load_base

    return load_base(
        args.model,
        device=args.device,
        dtype=args.dtype,
        num_threads=args.threads,
        offline=args.offline,
        **changes,
    )


def train(args: argparse.Namespace, objective: Objective, facts: dict[str, Any]) -> int:
    """Run `objective` in the folder of --out. Raises EngineError."""
    from engine.training.card import write_card
    from engine.training.loop import TrainingRun

    run = TrainingRun(
        objective,
        _settings(args),
        args.out,
        facts=facts,
        resume=args.resume,
        report=lambda line: print(line, file=sys.stderr, flush=True),
    )
    is_over = run.run()
    if is_over:
        write_card(
            run.export_folder,
            facts=facts,
            command=f"nemodiff {shlex.join(sys.argv[1:])}",
            num_steps=run.step,
            num_tokens=run.num_tokens,
            figures=run.figures,
            corpus=args.corpus,
        )
    ended = "The schedule is over" if is_over else "The time is up; go on with --resume"
    print(f"{ended}: step {run.step}, {run.num_tokens} tokens; see {run.export_folder}.")
    return 0


def _settings(args: argparse.Namespace) -> RunSettings:
    from engine.training.loop import RunSettings

    return RunSettings(
        steps=args.steps,
        learning_rate=args.learning_rate,
        warmup_steps=args.warmup_steps,
        minutes=args.minutes,
        evaluate_every=args.evaluate_every,
        seed=args.seed,
    )


def whole(least: int) -> Callable[[str], int]:
    """For argparse: a whole number from `least` on."""

    def parse(text: str) -> int:
        if not text.isdecimal() or not least <= int(text) < 2**31:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from {least} on")
        return int(text)

    return parse


def number(least: float, most: float) -> Callable[[str], float]:
    """For argparse: a number between `least` and `most`."""

    def parse(text: str) -> float:
        value = _float(text)
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"{text!r} is not a number from {least} to {most}")
        return value

    return parse


def _positive(text: str) -> float:
    value = _float(text)
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return value


def _float(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _languages(text: str) -> list[str]:
    names = text.split(",")
    for name in names:
        if name not in LANGUAGES:
            raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(LANGUAGES)}")
    return names
