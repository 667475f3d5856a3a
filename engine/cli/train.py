"""`nemodiff train`: corpora, adapters and converted models.

Registered by `main.py`. Everything heavy is imported when a command runs.
"""

from __future__ import annotations

import argparse

from engine.cli import train_adapters, train_data, train_full, train_pieces, train_recipe


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register `train` and its subcommands."""
    parser = commands.add_parser("train", help="train adapters for a code model")
    kinds = parser.add_subparsers(title="commands", metavar="WHAT", required=True)
    train_data.add_parser(kinds)
    train_adapters.add_parsers(kinds)
    train_full.add_parser(kinds)
    train_recipe.add_parser(kinds)
    train_pieces.add_parser(kinds)
