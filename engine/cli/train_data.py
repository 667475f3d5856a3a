"""`nemodiff train data`: a corpus of permissively licensed source code from package registries.

Registered by `engine.cli.train`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.training.corpus.shards import LANGUAGES

if TYPE_CHECKING:
    from engine.training.corpus.archive_cache import ArchiveCache
    from engine.training.corpus.build import Progress
    from engine.training.corpus.fetch import Registry
    from engine.training.corpus.options import BuildOptions
    from engine.training.corpus.pypi import PyPI

_BYTES_PER_MEGABYTE = 10**6
_MAX_DOWNLOADS = 16


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register `data`."""
    parser = commands.add_parser("data", help="build a corpus of source code from packages")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="a new folder")
    parser.add_argument(
        "--megabytes", type=_megabytes, required=True, metavar="N", help="of training text"
    )
    parser.add_argument(
        "--languages",
        type=_languages,
        default=LANGUAGES,
        metavar="A,B",
        help=f"default: {','.join(LANGUAGES)}",
    )
    parser.add_argument(
        "--packages", type=Path, metavar="FILE", help="instead of NemoDiff's own lists"
    )
    parser.add_argument(
        "--decontaminate",
        type=Path,
        action="append",
        default=[],
        metavar="PATH",
        help="a benchmark (.jsonl, .jsonl.gz) or a folder of them to keep out; repeatable",
    )
    parser.add_argument(
        "--humaneval", type=Path, metavar="FILE", help="HumanEval.jsonl.gz (default: downloaded)"
    )
    parser.add_argument(
        "--cache", type=Path, metavar="DIR", help="for downloads (default: NemoDiff's own)"
    )
    parser.add_argument(
        "--downloads", type=_downloads, default=4, metavar="N", help="at a time (%(default)s)"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Build the corpus and print what is in it. Raises EngineError."""
    from engine.training.corpus.archive_cache import ArchiveCache
    from engine.training.corpus.build import build
    from engine.training.corpus.options import finished_report
    from engine.training.corpus.pypi import PyPI, pip_configuration
    from engine.weights.store import cache_folder

    folder = args.cache or cache_folder() / "train-data"
    configuration = pip_configuration()
    cache = ArchiveCache(folder, configuration.certificate)
    try:
        pypi = PyPI(cache, configuration.indexes)
        options = _options(args, pypi, cache)
        report = finished_report(options)
        if report is None:
            registries, notes = _registries(options, pypi, cache, folder)
            for note in notes:
                print(f"nemodiff: {note}", file=sys.stderr)
            with _progress_on_stderr() as progress:
                report = build(options, registries, notes, progress)
    finally:
        cache.close()
    print(_summary(args.out, report), end="")
    return 0


def _options(args: argparse.Namespace, pypi: PyPI, cache: ArchiveCache) -> BuildOptions:
    from engine.training.corpus.decontaminate import read_benchmark, read_benchmarks
    from engine.training.corpus.humaneval import fetch_humaneval
    from engine.training.corpus.options import BuildOptions
    from engine.training.corpus.packages import always_held_out, default_packages, read_packages

    packages = read_packages(args.packages) if args.packages else default_packages()
    benchmarks = [task for path in args.decontaminate for task in read_benchmarks(path)]
    if args.humaneval:
        benchmarks += read_benchmark(args.humaneval)
    else:
        benchmarks += fetch_humaneval(pypi, cache)
    return BuildOptions(
        out=args.out,
        num_bytes=args.megabytes,
        languages=args.languages,
        packages=tuple(packages),
        always_held_out=frozenset(package.family for package in always_held_out()),
        benchmarks=tuple(benchmarks),
        num_downloads=args.downloads,
    )


def _registries(
    options: BuildOptions, pypi: PyPI, cache: ArchiveCache, folder: Path
) -> tuple[dict[str, Registry], list[str]]:
    """The registries that the languages need, and notes on those that are missing here."""
    from engine.training.corpus.archive_cache import MAX_ARCHIVE_BYTES
    from engine.training.corpus.debian import Debian, missing_tools
    from engine.training.corpus.npm import Npm, npm_registry

    registries: dict[str, Registry] = {"pypi": pypi}
    notes: list[str] = []
    if {"typescript", "javascript"} & set(options.languages):
        registries["npm"] = Npm(cache, npm_registry())
    if {"rust", "go"} & set(options.languages):
        missing = missing_tools()
        if missing:
            notes.append(
                f"Rust and Go are left out: this machine has no {' and no '.join(missing)}."
            )
        else:
            registries["debian"] = Debian(folder / "debian", MAX_ARCHIVE_BYTES)
    return registries, notes


def _summary(out: Path, report: dict[str, Any]) -> str:
    """The report in a few lines."""
    lines = [f"{out}"]
    for split, languages in report["documents"].items():
        for language, counts in languages.items():
            megabytes = counts["num_bytes"] / _BYTES_PER_MEGABYTE
            lines.append(
                f"{split:8} {language:11} {counts['num_files']:7} files {megabytes:8.1f} MB"
            )
    packages = report["packages"]
    lines.append(
        f"{packages['looked_at']} packages looked at: {packages['train']} for training, "
        f"{packages['heldout']} held out"
    )
    lines.append(
        f"{len(report['contaminated_files'])} files dropped that share text with benchmarks"
    )
    return "\n".join(lines) + "\n"


@contextmanager
def _progress_on_stderr() -> Iterator[Progress]:
    """Draws a bar on stderr; where that is no terminal, a line for each tenth."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    console = Console(stderr=True)
    bar = Bar(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    task = bar.add_task("", total=None)
    last = ("", -1)

    def progress(phase: str, done_bytes: int, num_bytes: int) -> None:
        nonlocal last
        if phase != last[0]:
            bar.reset(task, description=phase)
        bar.update(task, completed=done_bytes, total=num_bytes)
        tenth = 10 * done_bytes // max(1, num_bytes)
        if not console.is_terminal and (phase, tenth) != last:
            done, total = (count / _BYTES_PER_MEGABYTE for count in (done_bytes, num_bytes))
            print(f"{phase}: {done:.1f} of {total:.1f} MB", file=sys.stderr, flush=True)
        last = (phase, tenth)

    with bar:
        yield progress


def _megabytes(text: str) -> int:
    try:
        num_bytes = round(float(text) * _BYTES_PER_MEGABYTE)
    except (ValueError, OverflowError):
        num_bytes = 0
    if num_bytes < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of megabytes above 0")
    return num_bytes


def _languages(text: str) -> tuple[str, ...]:
    names = text.split(",")
    unknown = [name for name in names if name not in LANGUAGES]
    if unknown:
        raise argparse.ArgumentTypeError(f"{unknown[0]!r} is none of {', '.join(LANGUAGES)}")
    return tuple(language for language in LANGUAGES if language in names)


def _downloads(text: str) -> int:
    value = int(text) if text.isdecimal() else 0
    if not 1 <= value <= _MAX_DOWNLOADS:
        raise argparse.ArgumentTypeError(f"{text!r} is not between 1 and {_MAX_DOWNLOADS}")
    return value
