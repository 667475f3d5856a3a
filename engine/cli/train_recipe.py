"""`nemodiff train recipe`: the whole way from packages to a report, at a chosen size.

Each stage is one of the other commands, printed before it runs, so that any of them can be run
again by hand. Registered by `engine.cli.train`.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from engine.config import DEFAULT_MODEL
from engine.errors import EngineError


@dataclass(frozen=True, slots=True)
class Size:
    """How much of everything: megabytes of text, steps of both adapters, rows of both sets."""

    megabytes: int
    causal_steps: int
    draft_steps: int
    num_held_out: int
    num_rows: int


SIZES = {
    # `tiny` only shows that every stage works; `smoke` gives adapters that do something.
    "tiny": Size(1, 2, 2, 4, 6),
    "smoke": Size(6, 16, 12, 12, 20),
    "full": Size(150, 260, 400, 48, 600),
}


def add_parser(kinds: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register `recipe`."""
    parser = kinds.add_parser("recipe", help="data, both adapters and a report in one go")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    parser.add_argument(
        "--size", choices=tuple(SIZES), default="smoke", help="default: %(default)s"
    )
    parser.add_argument("--model", default=DEFAULT_MODEL, metavar="NAME")
    parser.add_argument("--languages", default="python", metavar="A,B")
    parser.add_argument(
        "--decontaminate",
        type=Path,
        action="append",
        default=[],
        metavar="PATH",
        help="benchmark files or folders that must not be in the text",
    )
    parser.add_argument("--dry-run", action="store_true", help="only print the commands")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the stages whose result is not there yet. Raises EngineError."""
    from engine.cli.main import main

    for result, command in stages(args):
        print(f"$ nemodiff {shlex.join(command)}", file=sys.stderr, flush=True)
        if args.dry_run or (result is not None and result.exists()):
            continue
        if main(command) != 0:
            raise EngineError(
                f"The stage `nemodiff {command[0]} {command[1]}` failed; its message stands above. "
                "The same command goes on where it stopped."
            )
    if not args.dry_run:
        folders = f"{args.out}/causal/adapter and {args.out}/draft/adapter"
        print(f"The adapters are in {folders}, the report is {args.out}/report.md.")
    return 0


def stages(args: argparse.Namespace) -> Iterator[tuple[Path | None, list[str]]]:
    """What each stage leaves behind when it is done, and its command line."""
    out, size = args.out, SIZES[args.size]
    corpus, causal, draft = out / "corpus", out / "causal", out / "draft"
    languages = ["--languages", args.languages]
    benchmarks = [word for path in args.decontaminate for word in ("--decontaminate", str(path))]
    yield (
        corpus / "report.json",
        [
            *("train", "data", "--out", str(corpus), "--megabytes", str(size.megabytes)),
            *languages,
            *benchmarks,
        ],
    )
    common = [
        *("--corpus", str(corpus), "--model", args.model, "--resume"),
        *("--held-out", str(size.num_held_out)),
        *languages,
    ]
    steps = str(size.causal_steps)
    yield (
        causal / "adapter" / "README.md",
        ["train", "causal", "--out", str(causal), "--steps", steps, *common],
    )
    merged = ["--causal-adapter", str(causal / "adapter")]
    steps = str(size.draft_steps)
    yield (
        draft / "adapter" / "README.md",
        ["train", "draft", "--out", str(draft), "--steps", steps, *merged, *common],
    )
    fresh = out / "fresh.jsonl.gz"
    yield (
        fresh,
        [
            *("eval", "cut", "--corpus", str(corpus), "--suite", "fresh", "--out", str(fresh)),
            *("--num", str(size.num_rows), "--languages", *args.languages.split(",")),
        ],
    )
    yield (
        out / "report.json",
        [
            *("eval", "fresh", "--data", str(fresh), "--model", args.model, "--modes", "ar,auto"),
            *merged,
            *("--draft-adapter", str(draft / "adapter")),
            *("--out", str(out / "report.json"), "--resume", "--share-prefill"),
        ],
    )
