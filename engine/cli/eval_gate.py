"""`nemodiff eval gate`: calibrate when to offer nothing, from rows recorded without the gate.

Registered by `evaluate.py`. Needs no engine and no model.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

_OTHER_OUTPUTS = (".md", ".png")
_EXIT_USAGE = 2


def add_parser(suites: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register `gate`."""
    parser = suites.add_parser("gate", help="calibrate when to offer nothing")
    parser.add_argument(
        "--fresh",
        type=Path,
        required=True,
        metavar="ROWS",
        help="FILE.rows.jsonl of `eval fresh --no-gate`",
    )
    parser.add_argument(
        "--silent",
        type=Path,
        required=True,
        metavar="ROWS",
        help="FILE.rows.jsonl of `eval silent --no-gate`",
    )
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="FILE",
        help="the gate as JSON; Markdown (.md) and a picture (.png) are written beside it",
    )
    parser.add_argument(
        "--configuration", default="auto", metavar="LABEL", help="default: %(default)s"
    )
    parser.add_argument(
        "--min-silence", type=_share, default=0.9, metavar="SHARE", help="default: %(default)s"
    )
    parser.add_argument(
        "--max-lost",
        type=_share,
        default=0.1,
        metavar="SHARE",
        help="of correct completions (default: %(default)s)",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Calibrate, write the three files of --out and print the Markdown. Raises EngineError."""
    from engine.evaluation.calibration import Goal
    from engine.evaluation.gate_report import build_gate, gate_markdown
    from engine.evaluation.gate_samples import read_recorded
    from engine.evaluation.plot import draw_gate
    from engine.evaluation.report import write_report

    if args.out.suffix in _OTHER_OUTPUTS:
        print(
            f"nemodiff: --out names the gate's JSON; {args.out.suffix} is written beside it by "
            "itself.",
            file=sys.stderr,
        )
        return _EXIT_USAGE
    fresh = read_recorded(args.fresh, "fresh", args.configuration)
    silent = read_recorded(args.silent, "silent", args.configuration)
    goal = Goal(min_silence=args.min_silence, max_lost=args.max_lost)
    gate = build_gate(fresh, silent, args.configuration, goal)
    text = gate_markdown(gate)
    missing = write_report(args.out, gate, text, lambda path: draw_gate(gate, path))
    if missing is not None:
        print(f"nemodiff: {missing}", file=sys.stderr)
    print(text, end="")
    return 0


def _share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0.0 <= value <= 1.0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to 1")
    return value
