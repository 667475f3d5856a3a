"""`nemodiff eval infilling`: pass@1 and forwards of each decoding mode on HumanEval-Infilling.

Registered by `main.py`. Every completion is asked for over the HTTP interface of an engine, which
is started for the purpose unless the user names a running one.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from engine.config import DEFAULT_MODEL
from engine.errors import EngineError
from engine.messages.completion import MAX_TOKENS_LIMIT, MODES, Mode

if TYPE_CHECKING:
    from engine.evaluation.dataset import Dataset, InfillingRow
    from engine.evaluation.infilling import InfillingOptions, Progress
    from engine.evaluation.records import RunLog, RunSettings
    from engine.evaluation.sandbox import Sandbox
    from engine.messages.address import EngineAddress

DEFAULT_MODES = ("ar", "auto")
# The facts of /health on which an answer depends; threads and reasons are left out.
_ENGINE_FACTS = (
    "model",
    "device",
    "dtype",
    "draft_adapter",
    "causal_adapter",
    "max_prefix_tokens",
    "max_suffix_tokens",
)
_EXIT_USAGE = 2
_EXIT_TERMINATED = 128 + signal.SIGTERM


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register `eval` and its suites."""
    parser = commands.add_parser("eval", help="measure the quality of completions")
    suites = parser.add_subparsers(title="suites", metavar="SUITE", required=True)
    infilling = suites.add_parser(
        "infilling", help="HumanEval-Infilling: fill holes, run the tests of the result"
    )
    infilling.add_argument(
        "--data", type=Path, required=True, metavar="FILE", help="rows as .jsonl or .jsonl.gz"
    )
    infilling.add_argument(
        "--modes",
        type=_modes,
        default=DEFAULT_MODES,
        metavar="A,B",
        help=f"the first is the baseline of comparisons (default: {','.join(DEFAULT_MODES)})",
    )
    infilling.add_argument(
        "--limit", type=_positive, metavar="N", help="evenly spaced rows (default: all)"
    )
    infilling.add_argument(
        "--max-tokens", type=_max_tokens, default=64, metavar="N", help="default: %(default)s"
    )
    infilling.add_argument(
        "--no-stop-rules", action="store_true", help="only the model's own end tokens stop"
    )
    where = infilling.add_mutually_exclusive_group()
    where.add_argument("--model", metavar="NAME", help=f"of the own engine ({DEFAULT_MODEL})")
    where.add_argument("--engine-socket", metavar="PATH", help="ask the engine that listens here")
    where.add_argument("--engine-url", metavar="URL", help="the same for http://HOST:PORT")
    infilling.add_argument("--out", type=Path, metavar="FILE", help="the report as JSON")
    infilling.add_argument(
        "--resume", action="store_true", help="keep the rows that an earlier run left beside --out"
    )
    infilling.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Measure, write the report and print it as Markdown. Raises EngineError."""
    from engine.evaluation.dataset import evenly_spaced, read_infilling
    from engine.evaluation.infilling import InfillingOptions
    from engine.evaluation.records import RecordsError
    from engine.evaluation.report import markdown
    from engine.evaluation.sandbox import Sandbox

    if args.resume and args.out is None:
        print("nemodiff: --resume needs --out, beside which the rows are kept.", file=sys.stderr)
        return _EXIT_USAGE
    dataset = read_infilling(args.data)
    rows = evenly_spaced(dataset.rows, args.limit)
    options = InfillingOptions(
        modes=args.modes, max_tokens=args.max_tokens, stop_rules=not args.no_stop_rules
    )
    sandbox = Sandbox()
    with _unwound_by_sigterm(), _open_log(args.out, args.resume) as log:
        try:
            with _progress_on_stderr() as progress:
                _measure(args, dataset, rows, options, sandbox, log, progress)
        except EngineError as error:
            if isinstance(error, RecordsError) or log.path is None or not log.rows:
                raise
            raise EngineError(
                f"{str(error).rstrip('.')}; the rows so far are in {log.path}, go on with --resume."
            ) from None
        report = _report(dataset, rows, options, sandbox, log)
    if args.out is not None:
        _write(args.out, report)
    print(markdown(report), end="")
    return 0


def _measure(
    args: argparse.Namespace,
    dataset: Dataset,
    rows: Sequence[InfillingRow],
    options: InfillingOptions,
    sandbox: Sandbox,
    log: RunLog,
    progress: Progress,
) -> None:
    """Fill `log` with what is missing in it; starts no engine when nothing is."""
    from engine.evaluation.infilling import measure_gold, measure_rows, pending_pairs
    from engine.evaluation.own_engine import wait_until_loaded
    from engine.messages.client import EngineClient

    if log.settings is not None:
        # What can be told without the engine is told before minutes go into loading one.
        log.check(_settings(dataset, options, log.settings.engine))
        has_gold = all(row.task_id in log.gold for row in rows)
        if has_gold and not pending_pairs(rows, options.modes, log):
            return

    def report(phase: str, fraction: float | None) -> None:
        progress(phase, round(100 * (fraction or 0.0)), 100)

    with _engine(args) as address:
        health = wait_until_loaded(address, report)
        facts = {name: health["engine"].get(name) for name in _ENGINE_FACTS}
        log.begin(_settings(dataset, options, {"version": health["version"], **facts}))
        measure_gold(rows, sandbox, log, progress)
        with EngineClient(address) as client:
            measure_rows(rows, options, client.complete, sandbox, log, progress)


def _settings(dataset: Dataset, options: InfillingOptions, engine: dict[str, Any]) -> RunSettings:
    from engine.evaluation.records import RunSettings

    return RunSettings(
        suite=dataset.name,
        data_sha256=dataset.sha256,
        max_tokens=options.max_tokens,
        stop_rules=options.stop_rules,
        engine=engine,
    )


def _report(
    dataset: Dataset,
    rows: Sequence[InfillingRow],
    options: InfillingOptions,
    sandbox: Sandbox,
    log: RunLog,
) -> dict[str, Any]:
    from dataclasses import asdict

    from engine.evaluation.report import compare, summarize_gold, summarize_mode

    names = [row.task_id for row in rows]
    results = {mode: log.results_of(mode, names) for mode in options.modes}
    baseline, *others = options.modes
    assert log.settings is not None
    return {
        "settings": asdict(log.settings),
        "num_rows": len(rows),
        "num_rows_in_file": len(dataset.rows),
        "num_base_tasks": len({row.base_task for row in rows}),
        "sandbox": {"isolation": sandbox.isolation, "limits": sandbox.limits.to_json()},
        "gold": summarize_gold([log.gold[name] for name in names]),
        "modes": [summarize_mode(mode, results[mode]) for mode in options.modes],
        "comparisons": [
            compare(baseline, results[baseline], other, results[other]) for other in others
        ],
    }


def _open_log(out: Path | None, is_resumed: bool) -> RunLog:
    """The rows beside `out`. Raises RecordsError, before any work is done."""
    from engine.evaluation.records import RecordsError, RunLog

    if out is None:
        return RunLog.create(None)
    if not out.parent.is_dir():
        raise RecordsError(f"The folder {out.parent} of --out does not exist.")
    if out.is_dir():
        raise RecordsError(f"--out {out} is a folder; name a file.")
    path = out.with_suffix(".rows.jsonl")
    return RunLog.resume(path) if is_resumed else RunLog.create(path)


def _write(out: Path, report: dict[str, Any]) -> None:
    from engine.evaluation.records import RecordsError

    try:
        out.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise RecordsError(f"{out} cannot be written ({error.strerror}).") from None


@contextmanager
def _engine(args: argparse.Namespace) -> Iterator[EngineAddress]:
    from engine.evaluation.own_engine import own_engine
    from engine.messages.address import EngineAddress

    named = args.engine_socket or args.engine_url
    if named is not None:
        yield EngineAddress.parse(named)
        return
    with own_engine(["--model", args.model or DEFAULT_MODEL]) as address:
        yield address


@contextmanager
def _unwound_by_sigterm() -> Iterator[None]:
    """SIGTERM ends the block as an exception would, so that the engine in it is stopped."""

    def leave(number: int, frame: object) -> None:
        raise SystemExit(_EXIT_TERMINATED)

    previous = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


@contextmanager
def _progress_on_stderr() -> Iterator[Progress]:
    """A Progress that draws a bar on stderr; where that is no terminal, a line now and then."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    console = Console(stderr=True)
    bar = Bar(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    task = bar.add_task("", total=None)
    last: tuple[str, int] = ("", -1)

    def progress(phase: str, done: int, total: int) -> None:
        nonlocal last
        if phase != last[0]:
            bar.reset(task, description=phase)
        bar.update(task, completed=done, total=total)
        tenth = 10 * done // max(1, total)
        if not console.is_terminal and (phase, tenth) != last:
            print(f"{phase}: {done} of {total}", file=sys.stderr, flush=True)
        last = (phase, tenth)

    with bar:
        yield progress


def _modes(text: str) -> tuple[Mode, ...]:
    names = text.split(",")
    unknown = [name for name in names if name not in MODES]
    if unknown:
        raise argparse.ArgumentTypeError(f"{unknown[0]!r} is none of {', '.join(MODES)}")
    if len(set(names)) != len(names):
        raise argparse.ArgumentTypeError(f"{text!r} names a mode twice")
    return cast(tuple[Mode, ...], tuple(names))


def _positive(text: str) -> int:
    value = int(text) if text.isdecimal() else 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return value


def _max_tokens(text: str) -> int:
    value = _positive(text)
    if value > MAX_TOKENS_LIMIT:
        raise argparse.ArgumentTypeError(f"{text} is above the limit of {MAX_TOKENS_LIMIT}")
    return value
