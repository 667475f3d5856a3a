"""`nemodiff stats`: what became of the completions, counted on this machine.

Registered by `main.py`. The figures are the language server's, whose package is loaded only here.
"""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register `stats`."""
    parser = commands.add_parser(
        "stats", help="show how many completions were shown, taken and kept (counted locally)"
    )
    asked = parser.add_mutually_exclusive_group()
    asked.add_argument(
        "--html", metavar="FILE", type=Path, help="write a page with plots instead of tables"
    )
    asked.add_argument("--json", action="store_true", help="print one JSON object")
    asked.add_argument("--reset", action="store_true", help="forget all that was counted")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print, write or forget the figures; the exit code. Raises OSError."""
    report = importlib.import_module("nemodiff_lsp.stats.report")
    code: int = report.run(html=args.html, is_json=args.json, is_reset=args.reset)
    return code
