"""`nemodiff eval trend`: reports of one measurement with several adapters, as one curve.

Registered by `evaluate.py`. Needs no engine and no model.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from engine.evaluation.trend import Point


def add_parser(suites: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register `trend`."""
    parser = suites.add_parser("trend", help="a figure against training tokens, from reports")
    parser.add_argument(
        "points",
        nargs="+",
        type=_point,
        metavar="TOKENS=REPORT",
        help="how many tokens an adapter was trained on, and its report as JSON",
    )
    parser.add_argument(
        "--figure",
        default="tokens_per_forward",
        metavar="NAME",
        help="as the report names it (default: %(default)s)",
    )
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="FILE",
        help="the curve as JSON; Markdown (.md) and a picture (.png) are written beside it",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Write the three files of --out and print the Markdown. Raises EngineError."""
    from engine.errors import EngineError
    from engine.evaluation.figures import BY_NAME
    from engine.evaluation.plot import draw_trend
    from engine.evaluation.report import write_report
    from engine.evaluation.trend import build_trend, trend_markdown

    if args.figure not in BY_NAME:
        raise EngineError(f"There is no figure {args.figure!r}; there are: {', '.join(BY_NAME)}.")
    trend = build_trend(args.points, args.figure)
    text = trend_markdown(trend)
    missing = write_report(args.out, trend, text, lambda path: draw_trend(trend, path))
    if missing is not None:
        print(f"nemodiff: {missing}", file=sys.stderr)
    print(text, end="")
    return 0


def _point(text: str) -> Point:
    from engine.evaluation.trend import Point

    tokens, found, path = text.partition("=")
    if not found or not tokens.isdecimal() or not path:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not of the form TOKENS=REPORT, such as 57394=run/report.json"
        )
    return Point(int(tokens), Path(path))
