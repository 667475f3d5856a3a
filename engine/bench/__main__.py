"""Command line of the engine's measurements: `nemodiff bench forward`, `python -m engine.bench`."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from engine.bench.options import build_parser
from engine.errors import EngineError

EXIT_NO_KERNELS = 2


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print the report as Markdown; the exit code."""
    # As in the engine itself; must be set before torch is imported.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    args = build_parser().parse_args(argv)
    # Unwound like an interrupt: a peer's process must not outlive the measurement.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        if args.case == "kernels":
            return _kernels(args)
        _check_targets(args.json, args.png, args.profile)
        from engine.bench.plan import plan_of
        from engine.bench.run import run_bench
        from engine.server.faults import user_errors

        try:
            report = run_bench(plan_of(args), _progress)
            _hand_out(report, args.json, args.png)
            if args.profile is not None:
                _write(args.profile, report["cases"]["profile"])
        except user_errors() as error:
            raise EngineError(str(error)) from None
    except EngineError as error:
        _tell(str(error))
        return 1
    except KeyboardInterrupt:
        _tell("Interrupted.")
        return 130
    return 0


def _kernels(args: argparse.Namespace) -> int:
    """Case kernels; 2 where this machine can do nothing of it. Raises EngineError."""
    _check_targets(args.json, args.png)
    if args.interpret:
        # Must be there before triton is imported.
        os.environ["TRITON_INTERPRET"] = "1"
    from engine.bench.kernels_case import kernels_plan, kernels_problem, kernels_report

    plan = kernels_plan(args)
    reason = kernels_problem(plan)
    if reason is not None:
        _tell(reason)
        return EXIT_NO_KERNELS
    _hand_out(kernels_report(plan, _progress), args.json, args.png)
    return 0


def _check_targets(*paths: Path | None) -> None:
    """Minutes of measuring must not end at a folder that is not there. Raises EngineError."""
    for path in paths:
        if path is not None and not path.absolute().parent.is_dir():
            raise EngineError(f"{path} cannot be written: its folder does not exist.")


def _hand_out(report: Mapping[str, Any], json_path: Path | None, png_path: Path | None) -> None:
    from engine.bench.report import markdown

    if sys.stderr.isatty():
        sys.stderr.write("\r\x1b[K")
    sys.stdout.write(markdown(report))
    sys.stdout.flush()
    if json_path is not None:
        _write(json_path, report)
    try:
        if png_path is not None:
            from engine.bench.plot import draw

            draw(report, png_path)
    except OSError as error:
        raise EngineError(f"{error.filename} cannot be written ({error.strerror}).") from None


def _write(path: Path, values: Any) -> None:
    """As JSON. Raises EngineError."""
    try:
        path.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise EngineError(f"{path} cannot be written ({error.strerror}).") from None


def _progress(phase: str, done: int, total: int) -> None:
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\x1b[K{phase}: {done} of {total}")
        sys.stderr.flush()


def _tell(sentence: str) -> None:
    sys.stderr.write(f"nemodiff bench: {sentence}\n")


if __name__ == "__main__":
    sys.exit(main())
