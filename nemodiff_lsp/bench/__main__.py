"""Command line of the measurements: `nemodiff bench`, which is `python -m nemodiff_lsp.bench`."""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from engine.bench import CASES as ENGINE_CASES
from engine.errors import EngineError
from nemodiff_lsp.bench.engines import EngineChoice
from nemodiff_lsp.bench.markdown import comparison_markdown, figures_markdown
from nemodiff_lsp.bench.scripted_engine import Speed
from nemodiff_lsp.bench.typing_trace import SHIPPED, read_trace, spread, write_trace

_SCRIPTED, _REAL = "scripted", "real"


def build_parser() -> argparse.ArgumentParser:
    """The options of `nemodiff bench`."""
    parser = argparse.ArgumentParser(
        prog="nemodiff bench",
        description="Measure the language server as an editor meets it.",
        epilog=f"The engine: nemodiff bench {', '.join(ENGINE_CASES)}, each with its own --help; "
        "`all` has the language server, too.",
    )
    cases = parser.add_subparsers(title="measurements", metavar="CASE", required=True)
    _add_lsp(cases)
    _add_soak(cases)
    _add_trace(cases)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print the report as Markdown; the exit code."""
    args = build_parser().parse_args(argv)
    # Unwound like an interrupt: engines that were started here must not outlive the measurement.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        code: int = args.run(args)
    except EngineError as error:
        sys.stderr.write(f"nemodiff bench: {error}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("nemodiff bench: Interrupted.\n")
        return 130
    return code


def _add_lsp(cases: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    from nemodiff_lsp.bench.comparison import VARIANTS

    parser = cases.add_parser("lsp", help="type a trace of real edits into the server")
    parser.add_argument(
        "--case",
        choices=("trace", "overhead"),
        default="trace",
        help="trace: the server against itself without its savings; overhead: what the server adds "
        "to an engine that answers at once, in a document of 20,000 lines (default: %(default)s)",
    )
    parser.add_argument("--trace", type=Path, default=SHIPPED, metavar="FILE")
    parser.add_argument("--sittings", type=_positive, metavar="N", help="default: the whole trace")
    parser.add_argument(
        "--minutes", type=float, metavar="N", help="begin no sitting after this time"
    )
    parser.add_argument(
        "--variants",
        type=lambda text: text.split(","),
        default=list(VARIANTS),
        metavar="A,B",
        help=f"default: {','.join(VARIANTS)}",
    )
    parser.add_argument("--style", choices=("vscode", "neovim"), default="vscode")
    parser.add_argument(
        "--keys-per-s", type=float, metavar="N", help="default: each key after the reply"
    )
    parser.add_argument(
        "--min-accepted",
        type=_positive,
        default=2,
        metavar="N",
        help="characters; shorter offers are typed out (default: %(default)s)",
    )
    parser.add_argument("--rounds", type=_positive, default=300, help="of the case overhead")
    _add_engine(parser)
    parser.set_defaults(run=_run_lsp)


def _add_soak(cases: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = cases.add_parser("soak", help="many documents and clients for a long time")
    parser.add_argument("--minutes", type=float, default=10.0, metavar="N")
    parser.add_argument("--clients", type=_positive, default=16, metavar="N")
    parser.add_argument("--servers", type=_positive, default=3, metavar="N", help="of the clients")
    parser.add_argument("--documents", type=_positive, default=64, metavar="N", help="in all")
    parser.add_argument("--trace", type=Path, default=SHIPPED, metavar="FILE")
    _add_engine(parser)
    parser.set_defaults(run=_run_soak)


def _add_trace(cases: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    from nemodiff_lsp.bench.trace_from_git import Limits

    parser = cases.add_parser("trace", help="make a typing trace of a repository's commits")
    parser.add_argument("--repo", type=Path, required=True, metavar="FOLDER")
    parser.add_argument(
        "--out", type=Path, required=True, metavar="FILE", help=".jsonl or .jsonl.gz"
    )
    parser.add_argument(
        "--sittings", type=_positive, default=Limits().max_sittings, metavar="N", help="at most"
    )
    parser.add_argument(
        "--max-chars", type=_positive, default=Limits().max_chars, help="typed in one sitting"
    )
    parser.set_defaults(run=_run_trace)


def _add_engine(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("engine")
    group.add_argument(
        "--engine",
        choices=(_SCRIPTED, _REAL),
        default=_SCRIPTED,
        help="scripted: no model, a fixed time per forward (default: %(default)s)",
    )
    group.add_argument("--model", metavar="NAME", help="of the real engine")
    group.add_argument("--device", metavar="NAME", help="of the real engine (default: its choice)")
    group.add_argument(
        "--max-cache-bytes",
        type=_positive,
        metavar="N",
        help="of KV that the real engine keeps (default: its own); a small one is full soon, and "
        "what memory grows by afterwards is something else",
    )
    group.add_argument("--forward-ms", type=float, default=30.0, help="of the scripted engine")
    group.add_argument(
        "--skill", type=float, default=0.25, help="share of lines that the scripted engine knows"
    )
    group.add_argument(
        "--setting",
        type=_setting,
        action="append",
        default=[],
        metavar="KEY=JSON",
        help="setting of every server, such as deadlineMs=2000",
    )
    group.add_argument("--out", type=Path, metavar="FILE", help="JSON; Markdown goes beside it")


def _run_lsp(args: argparse.Namespace) -> int:
    from nemodiff_lsp.bench import comparison, overhead
    from nemodiff_lsp.bench.replay import Habits

    if args.case == "overhead":
        figures = asyncio.run(overhead.measure(args.rounds, dict(args.setting)))
        return _hand_out(args.out, figures, figures_markdown("What the server adds", figures))
    unknown = [name for name in args.variants if name not in comparison.VARIANTS]
    if unknown:
        raise EngineError(f"{unknown[0]!r} is no variant; use {', '.join(comparison.VARIANTS)}.")
    plan = comparison.Plan(
        sittings=spread(read_trace(args.trace).sittings, args.sittings),
        variants=[comparison.VARIANTS[name] for name in args.variants],
        engine=_engine(args),
        habits=Habits(args.style, args.keys_per_s, args.min_accepted),
        max_minutes=args.minutes,
        settings=dict(args.setting),
    )
    figures = asyncio.run(comparison.compare(plan, _progress))
    return _hand_out(args.out, figures, comparison_markdown(figures))


def _run_soak(args: argparse.Namespace) -> int:
    from nemodiff_lsp.bench import soak

    load = soak.Load(
        minutes=args.minutes,
        num_clients=args.clients,
        num_servers=min(args.servers, args.clients),
        num_documents=args.documents,
        engine=_engine(args),
        sittings=read_trace(args.trace).sittings,
        settings=dict(args.setting),
    )
    figures = asyncio.run(soak.soak(load, _progress))
    return _hand_out(args.out, figures, figures_markdown("Soak", figures))


def _run_trace(args: argparse.Namespace) -> int:
    from nemodiff_lsp.bench.trace_from_git import Limits, trace_of

    trace = trace_of(args.repo, Limits(max_sittings=args.sittings, max_chars=args.max_chars))
    try:
        write_trace(args.out, trace)
    except OSError as error:
        raise EngineError(f"{args.out} cannot be written ({error.strerror}).") from None
    sys.stdout.write(f"{trace.source}, in {args.out}\n")
    return 0


def _engine(args: argparse.Namespace) -> EngineChoice:
    return EngineChoice(
        is_scripted=args.engine == _SCRIPTED,
        model=args.model,
        device=args.device,
        max_cache_bytes=args.max_cache_bytes,
        skill=args.skill,
        speed=Speed(args.forward_ms),
    )


def _hand_out(out: Path | None, figures: dict[str, Any], text: str) -> int:
    if sys.stderr.isatty():
        sys.stderr.write("\r\x1b[K")
    if out is not None:
        try:
            out.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
            out.with_suffix(".md").write_text(text, encoding="utf-8")
        except OSError as error:
            raise EngineError(f"{out} cannot be written ({error.strerror}).") from None
    sys.stdout.write(text)
    return 0


def _progress(what: str) -> None:
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\x1b[K{what}")
        sys.stderr.flush()


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


def _setting(text: str) -> tuple[str, Any]:
    key, separator, value = text.partition("=")
    try:
        return key, json.loads(value)
    except ValueError:
        problem = "is no JSON" if separator else "must have the form KEY=JSON"
        raise argparse.ArgumentTypeError(f"{text!r} {problem}") from None


if __name__ == "__main__":
    sys.exit(main())
