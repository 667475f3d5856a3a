"""`python -m engine.native`: build the kernels ahead of their use, or measure their quality."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from engine.errors import EngineError
from engine.native import NativeError


def main(arguments: list[str] | None = None) -> int:
    """Run one action; 1 and a sentence on stderr where it cannot be done."""
    parser = argparse.ArgumentParser(prog="python -m engine.native", description=__doc__)
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    build = actions.add_parser("build", help="compile the kernels, even where it failed before")
    build.add_argument(
        "--into", type=Path, metavar="DIR", help="folder of the library (default: the cache)"
    )
    build.set_defaults(run=_build)
    quality = actions.add_parser(
        "quality", help="rounded weights and bfloat16 against float32 on real code, as a table"
    )
    quality.add_argument("--model", metavar="NAME", help="as in `nemodiff engine serve`")
    quality.add_argument("--windows", type=int, default=12, metavar="N", help="default: 12")
    quality.add_argument("--tokens", type=int, default=256, metavar="N", help="default: 256")
    quality.add_argument(
        "--weights",
        metavar="NAMES",
        help='some of "bfloat16,int8 (CPU),int8 (GPU),int4,fp8" (default: all)',
    )
    quality.set_defaults(run=_quality)
    args = parser.parse_args(arguments)
    try:
        sys.stdout.write(args.run(args) + "\n")
    except (NativeError, EngineError) as error:
        sys.stderr.write(f"{str(error).rstrip('.')}.\n")
        return 1
    return 0


def _build(args: argparse.Namespace) -> str:
    from engine.native.build import COMPILERS, build, find_compiler

    compiler = find_compiler()
    if compiler is None:
        raise NativeError(f"no C++ compiler is installed ({', '.join(COMPILERS)})")
    return str(build(compiler, args.into, is_forced=True))


def _quality(args: argparse.Namespace) -> str:
    from engine.config import DEFAULT_MODEL
    from engine.native.quality import VARIANTS, quality_table

    names = args.weights.split(",") if args.weights else VARIANTS
    return quality_table(args.model or DEFAULT_MODEL, args.windows, args.tokens, names)


if __name__ == "__main__":
    sys.exit(main())
