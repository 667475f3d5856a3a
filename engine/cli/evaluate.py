"""`nemodiff eval`: quality and forwards of each decoding mode, on the rows of a suite.

Registered by `main.py`; cutting rows, calibrating the gate and curves over several reports are
in `eval_cut.py`, `eval_gate.py` and `eval_trend.py`. Every completion is asked for over the HTTP
interface of an engine, which is started for the purpose unless the user names a running one.
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.cli.eval_progress import progress_on_stderr
from engine.config import DEFAULT_MODEL, WEIGHTS
from engine.errors import EngineError
from engine.messages.completion import MAX_TOKENS_LIMIT

if TYPE_CHECKING:
    from engine.evaluation.configurations import EngineName, Point
    from engine.evaluation.records import RunLog
    from engine.evaluation.run import Plan
    from engine.evaluation.sandbox import Sandbox
    from engine.messages.address import EngineAddress

DEFAULT_MODES = "ar,auto"
_SUITES = {
    "infilling": "HumanEval-Infilling: fill holes, run the tests of the result",
    "fresh": "holes cut from held-out packages: compare with what stood there",
    "silent": "cursors at which nothing should be offered: count how often nothing is",
}
# Flags of `nemodiff engine serve` that are handed on, by their destination.
_ENGINE_FLAGS = {
    "model": "--model",
    "device": "--device",
    "dtype": "--dtype",
    "weights": "--weights",
    "threads": "--threads",
    "causal_adapter": "--causal-adapter",
    "draft_adapter": "--draft-adapter",
}
_OTHER_OUTPUTS = (".md", ".png")
_EXIT_USAGE = 2
_EXIT_TERMINATED = 128 + signal.SIGTERM


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register `eval` and its suites."""
    from engine.cli import eval_cut, eval_gate, eval_trend

    parser = commands.add_parser("eval", help="measure the quality of completions")
    suites = parser.add_subparsers(title="suites", metavar="SUITE", required=True)
    for name, summary in _SUITES.items():
        suite = suites.add_parser(name, help=summary)
        _add_rows_flags(suite)
        _add_engine_flags(suite)
        _add_output_flags(suite)
        suite.set_defaults(run=run, suite=name)
    eval_cut.add_parser(suites)
    eval_gate.add_parser(suites)
    eval_trend.add_parser(suites)


def _add_rows_flags(suite: argparse.ArgumentParser) -> None:
    suite.add_argument(
        "--data", type=Path, required=True, metavar="FILE", help="rows as .jsonl or .jsonl.gz"
    )
    suite.add_argument(
        "--modes",
        type=_points,
        default=DEFAULT_MODES,
        metavar="A,B@T",
        help="decoding modes; diffusion@0.9 sets its confidence threshold. The first is the "
        f"baseline of comparisons unless ar is among them (default: {DEFAULT_MODES})",
    )
    suite.add_argument(
        "--limit", type=_positive, metavar="N", help="evenly spaced rows (default: all)"
    )
    suite.add_argument(
        "--max-tokens", type=_max_tokens, default=64, metavar="N", help="default: %(default)s"
    )
    suite.add_argument(
        "--no-stop-rules", action="store_true", help="only the model's own end tokens stop"
    )
    suite.add_argument(
        "--no-gate", action="store_true", help="offer every text; rows for `eval gate` need this"
    )
    suite.add_argument(
        "--share-prefill",
        action="store_true",
        help="configurations of a row reuse its prompt's KV: same answers, sooner; only the "
        "first one's time has the prefill in it",
    )


def _add_engine_flags(suite: argparse.ArgumentParser) -> None:
    group = suite.add_argument_group("engine")
    where = group.add_mutually_exclusive_group()
    where.add_argument("--model", metavar="NAME", help=f"of the own engine ({DEFAULT_MODEL})")
    where.add_argument("--engine-socket", metavar="PATH", help="ask the engine that listens here")
    where.add_argument("--engine-url", metavar="URL", help="the same for http://HOST:PORT")
    group.add_argument("--device", help="auto, cpu, cuda or cuda:N")
    group.add_argument("--dtype", choices=("auto", "float32", "bfloat16"))
    group.add_argument("--weights", choices=WEIGHTS)
    group.add_argument("--threads", type=_positive, metavar="N", help="torch threads on a CPU")
    group.add_argument("--causal-adapter", type=_adapter, metavar="FOLDER|none")
    group.add_argument("--draft-adapter", type=_adapter, metavar="FOLDER|none")
    group.add_argument(
        "--no-bare-base",
        action="store_true",
        help="leave out the line for ar of the same model without adapters",
    )


def _add_output_flags(suite: argparse.ArgumentParser) -> None:
    suite.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        help="the report as JSON; Markdown (.md) and a picture (.png) are written beside it",
    )
    suite.add_argument(
        "--resume", action="store_true", help="keep the rows that an earlier run left beside --out"
    )


def run(args: argparse.Namespace) -> int:
    """Measure, write the report and print it as Markdown. Raises EngineError."""
    from engine.evaluation.records import RecordsError
    from engine.evaluation.report import build_report
    from engine.evaluation.run import run as measure
    from engine.evaluation.sandbox import Sandbox

    if problem := _usage_problem(args):
        print(f"nemodiff: {problem}", file=sys.stderr)
        return _EXIT_USAGE
    plan = _plan(args)
    sandbox: Sandbox | None = Sandbox() if plan.suite.has_tests else None
    with _unwound_by_sigterm(), _open_log(args.out, args.resume) as log:
        try:
            with progress_on_stderr() as progress:
                measure(plan, lambda name: _engine(args, name), sandbox, log, progress)
        except EngineError as error:
            if isinstance(error, RecordsError) or log.path is None or not log.rows:
                raise
            raise EngineError(
                f"{str(error).rstrip('.')}; the rows so far are in {log.path}, go on with --resume."
            ) from None
        report = build_report(plan, log, sandbox)
    _hand_out(args.out, report)
    return 0


def _usage_problem(args: argparse.Namespace) -> str | None:
    """What is wrong with flags that are right one by one."""
    own = [flag for field, flag in _ENGINE_FLAGS.items() if getattr(args, field) is not None]
    if own and _named_engine(args) is not None:
        return f"{own[0]} is for an engine of its own; a running one is asked as it is."
    if args.out is None:
        return "--resume needs --out, beside which the rows are kept." if args.resume else None
    if args.out.suffix in _OTHER_OUTPUTS:
        return f"--out names the JSON report; {args.out.suffix} is written beside it by itself."
    return None


def _plan(args: argparse.Namespace) -> Plan:
    from engine.evaluation.dataset import evenly_spaced
    from engine.evaluation.measure import AskOptions
    from engine.evaluation.run import Plan
    from engine.evaluation.suites import SUITES

    suite = SUITES[args.suite]
    dataset = suite.read(args.data)
    return Plan(
        suite=suite,
        dataset=dataset,
        rows=evenly_spaced(dataset.rows, args.limit),
        points=args.modes,
        options=AskOptions(
            max_tokens=args.max_tokens,
            stop_rules=not args.no_stop_rules,
            gate=not args.no_gate,
            shares_prefill=args.share_prefill,
        ),
        # An engine that runs already cannot be had a second time without its adapters.
        with_bare_base=not args.no_bare_base and _named_engine(args) is None,
    )


def _hand_out(out: Path | None, report: dict[str, Any]) -> None:
    """Write the three files of `out`, print the table; a missing picture is no failure."""
    from engine.evaluation.markdown import markdown
    from engine.evaluation.plot import draw_quality
    from engine.evaluation.report import write_report

    text = markdown(report)
    if out is not None:
        missing = write_report(out, report, text, lambda path: draw_quality(report, path))
        if missing is not None:
            print(f"nemodiff: {missing}", file=sys.stderr)
    print(text, end="")


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


@contextmanager
def _engine(args: argparse.Namespace, name: EngineName) -> Iterator[EngineAddress]:
    from engine.evaluation.configurations import BARE_BASE_FLAGS
    from engine.evaluation.own_engine import own_engine
    from engine.messages.address import EngineAddress

    named = _named_engine(args)
    if named is not None:
        yield EngineAddress.parse(named)
        return
    given = {flag: getattr(args, field) for field, flag in _ENGINE_FLAGS.items()}
    given["--model"] = args.model or DEFAULT_MODEL
    # The last of two equal flags holds, so those of the bare base go behind.
    flags = [f"{flag}={value}" for flag, value in given.items() if value is not None]
    bare = BARE_BASE_FLAGS if name == "bare base" else ()
    with own_engine([*flags, *bare]) as address:
        yield address


def _named_engine(args: argparse.Namespace) -> str | None:
    named: str | None = args.engine_socket or args.engine_url
    return named


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


def _points(text: str) -> tuple[Point, ...]:
    from engine.evaluation.configurations import parse_points

    try:
        return parse_points(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _adapter(text: str) -> str:
    """The engine is another process; a path must mean the same there."""
    return text if text == "none" else str(Path(text).absolute())


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
