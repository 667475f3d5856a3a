"""`nemodiff eval cut`: evaluation sets from the held-out packages of a training corpus.

Registered by `engine.cli.evaluate`. Needs no engine and no model.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from engine.evaluation.cuts.build import Row

_SUITES = {
    "fresh": "holes to fill: lines, expressions, calls, blocks and half-typed words",
    "silent": "cursors in finished code, where nothing should be offered",
}


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register `cut`."""
    parser = commands.add_parser(
        "cut", help="cut an evaluation set from the held-out packages of a corpus"
    )
    parser.add_argument(
        "--corpus", type=Path, required=True, metavar="DIR", help="made by `nemodiff train data`"
    )
    parser.add_argument(
        "--out", type=_rows_path, required=True, metavar="FILE", help="rows, as .jsonl.gz"
    )
    parser.add_argument(
        "--suite",
        choices=_SUITES,
        required=True,
        help="; ".join(f"{name}: {what}" for name, what in _SUITES.items()),
    )
    parser.add_argument(
        "--num", type=_positive, required=True, metavar="N", help="rows, as many as can be had"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="default: %(default)s")
    parser.add_argument(
        "--languages", nargs="+", metavar="NAME", help="default: all that the corpus holds"
    )
    parser.add_argument(
        "--files-out",
        type=Path,
        metavar="DIR",
        help="write all held-out files there, for `python -m nemodiff_lsp.bench.crossfile`",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Cut, write the rows and print how many of what there are. Raises EngineError."""
    from engine.evaluation.cuts.build import CutError, cut, write_files, write_rows
    from engine.evaluation.cuts.parsing import parse
    from engine.training.corpus.shards import read_corpus

    # A missing grammar or folder is told before minutes go into reading.
    for language in args.languages or ("python",):
        parse(language, b"")
    if not args.out.parent.is_dir():
        raise CutError(f"The folder {args.out.parent} of --out does not exist.")
    manifest = _manifest(args.corpus)
    rows = cut(
        read_corpus(args.corpus, "heldout"),
        args.suite,
        args.num,
        seed=args.seed,
        languages=args.languages,
        licences={
            name: licence
            for name, entry in manifest.items()
            if isinstance(licence := entry.get("licence"), str)
        },
    )
    if not rows:
        wanted = " ".join(args.languages or ("known",))
        raise CutError(
            f"The held-out files of {args.corpus} hold no place to cut in {wanted} code; use a "
            "larger corpus."
        )
    write_rows(args.out, rows)
    if args.files_out is not None:
        write_files(read_corpus(args.corpus, "heldout"), args.files_out)
    trained = {name for (_, name), entry in manifest.items() if entry.get("split") == "train"}
    _tell_doubts(args, rows, trained)
    print(_summary(rows), end="")
    return 0


def _manifest(corpus: Path) -> dict[tuple[str, str], dict[str, object]]:
    """The manifest's entries by (ecosystem, package); empty for a corpus without one."""
    try:
        lines = (corpus / "manifest.jsonl").read_text(encoding="utf-8").split("\n")
        entries = [json.loads(line) for line in lines if line.strip()]
    except (OSError, ValueError):
        return {}
    return {
        (str(entry.get("ecosystem")), str(entry.get("name"))): entry
        for entry in entries
        if isinstance(entry, dict)
    }


def _tell_doubts(args: argparse.Namespace, rows: Sequence[Row], trained: set[str]) -> None:
    """Say on stderr what a user of the rows must know."""
    if len(rows) < args.num:
        print(
            f"Only {len(rows)} of {args.num} rows: a file gives a few only, and the held-out files "
            "are used up.",
            file=sys.stderr,
        )
    suspects = sorted(trained & {row.package for row in rows})
    if suspects:
        print(
            f"{', '.join(suspects)}: held out, but counted as training packages in the manifest of "
            f"{args.corpus}; see that no model learnt from them.",
            file=sys.stderr,
        )


def _summary(rows: Sequence[Row]) -> str:
    """A Markdown table of rows by language and kind, and a line on packages."""
    kinds = sorted({row.kind for row in rows})
    counts = Counter((row.language, row.kind) for row in rows)
    lines = [
        f"| language | {' | '.join(kinds)} | all |",
        f"|---|{'---:|' * (len(kinds) + 1)}",
    ]
    for language in sorted({row.language for row in rows}):
        row = [counts[language, kind] for kind in kinds]
        lines.append(f"| {language} | {' | '.join(map(str, row))} | {sum(row)} |")
    packages = Counter(row.cluster for row in rows)
    most = max(packages.values())
    lines.append(f"\n{len(rows)} rows of {len(packages)} packages, at most {most} of one package.")
    return "\n".join(lines) + "\n"


def _rows_path(text: str) -> Path:
    if not text.endswith(".jsonl.gz"):
        raise argparse.ArgumentTypeError(f"{text!r} must end in .jsonl.gz")
    return Path(text)


def _positive(text: str) -> int:
    value = int(text) if text.isdecimal() else 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return value
