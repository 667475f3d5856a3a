"""`nemodiff train split|join|shrink`: runs and adapters made small enough to carry."""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from engine.config import DEFAULT_MODEL


def add_parser(kinds: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register `split` and `join`."""
    split = kinds.add_parser("split", help="cut a folder into files of limited size")
    split.add_argument("folder", type=Path)
    split.add_argument("--out", type=Path, required=True, metavar="DIR")
    split.add_argument("--megabytes", type=_positive, default=60, metavar="N", help="per file")
    split.set_defaults(run=run_split)
    join = kinds.add_parser("join", help="put such a folder together again")
    join.add_argument("pieces", type=Path)
    join.add_argument("--out", type=Path, required=True, metavar="DIR")
    join.set_defaults(run=run_join)
    shrink = kinds.add_parser("shrink", help="store an adapter's matrices as int8")
    shrink.add_argument("adapter", type=Path)
    shrink.add_argument("--model", default=DEFAULT_MODEL, metavar="NAME", help="its base")
    shrink.add_argument("--out", type=Path, required=True, metavar="DIR")
    shrink.set_defaults(run=run_shrink)


def run_split(args: argparse.Namespace) -> int:
    """Raises EngineError."""
    from engine.training.pieces import split_folder

    num_pieces = split_folder(args.folder, args.out, args.megabytes * 2**20)
    print(f"{num_pieces} pieces in {args.out}; join them with `nemodiff train join {args.out}`.")
    return 0


def run_join(args: argparse.Namespace) -> int:
    """Raises EngineError."""
    from engine.training.pieces import join_folder

    print(f"{join_folder(args.pieces, args.out)} files in {args.out}.")
    return 0


def run_shrink(args: argparse.Namespace) -> int:
    """Raises EngineError."""
    from engine.models.config import read_model_config
    from engine.training.card import CARD_FILE
    from engine.weights.adapters import read_adapter, write_adapter
    from engine.weights.resolve import resolve_model

    folder = resolve_model(args.model, offline=False, report=lambda phase, fraction: None)
    adapter = read_adapter(args.adapter, read_model_config(folder / "config.json"))
    write_adapter(args.out, adapter, int8=True)
    if (args.adapter / CARD_FILE).is_file() and args.out.resolve() != args.adapter.resolve():
        shutil.copyfile(args.adapter / CARD_FILE, args.out / CARD_FILE)
    print(f"{args.out} holds the adapter with int8 matrices.")
    return 0


def _positive(text: str) -> int:
    value = int(text) if text.isdecimal() else 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return value
