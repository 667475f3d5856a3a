"""Command line of the language server: `nemodiff lsp`, which is `python -m nemodiff_lsp`.

Speaks the language server protocol on stdin and stdout. Nothing else may ever reach stdout, so
the protocol gets its own copy of it and the rest of the process writes to stderr.
"""

from __future__ import annotations

import argparse
import gc
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from nemodiff_lsp.logs import LEVELS, configure_logging

_MAX_MINUTES = 60.0 * 24 * 365


def build_parser() -> argparse.ArgumentParser:
    """The options of `nemodiff lsp`."""
    parser = argparse.ArgumentParser(
        prog="nemodiff lsp",
        description="Language server for inline completion, on stdin and stdout.",
    )
    add_arguments(parser)
    return parser


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add our options to `parser`."""
    parser.add_argument(
        "--stdio", action="store_true", help="speak on stdin and stdout (the only way there is)"
    )
    parser.add_argument(
        "--engine-socket",
        metavar="PATH",
        help="socket of the engine (default: the user's own engine)",
    )
    parser.add_argument(
        "--engine-url",
        metavar="URL",
        help="use the engine at https://HOST:PORT and no other: your code is sent there. Its token "
        "is taken from --engine-token-file or the environment variable NEMODIFF_ENGINE_TOKEN",
    )
    parser.add_argument(
        "--engine-token-file", metavar="FILE", type=Path, help="holds the token for --engine-url"
    )
    parser.add_argument(
        "--insecure-engine-url",
        action="store_true",
        help="accept an http:// URL beyond this machine, where others can read what is sent",
    )
    parser.add_argument(
        "--model", metavar="NAME", help="model for an engine that the server has to start"
    )
    parser.add_argument(
        "--no-engine-start",
        action="store_true",
        help="join a running engine only, never start one",
    )
    parser.add_argument(
        "--idle-exit-minutes",
        type=_minutes,
        metavar="N",
        help="when an engine that the server starts leaves for lack of work; 0 = never",
    )
    parser.add_argument("--log-file", metavar="FILE", type=Path, help="log here, not to stderr")
    parser.add_argument("--log-level", choices=LEVELS, default="WARNING", help="default: WARNING")


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until the client says ``exit`` or goes away; the exit code: 1 without ``shutdown``."""
    # The protocol's types are thousands of objects that stay: collecting them over and over while
    # they are made takes a quarter of the start.
    gc.disable()
    args = build_parser().parse_args(argv)
    stdin, stdout = take_stdio()
    # Imported only now that stdout is safe from whatever an import may print.
    from nemodiff_lsp.completion.lean_types import load_lean_types

    load_lean_types()
    from engine.errors import EngineError
    from nemodiff_lsp.link.engine_options import EngineChoice, resolve
    from nemodiff_lsp.link.load_progress import LoadProgress
    from nemodiff_lsp.server import create_server

    try:
        configure_logging(args.log_level, args.log_file)
        options = resolve(
            EngineChoice(
                socket=args.engine_socket,
                url=args.engine_url,
                token_file=args.engine_token_file,
                is_plain_allowed=args.insecure_engine_url,
                model=args.model,
                idle_exit_minutes=args.idle_exit_minutes,
                may_start=not args.no_engine_start,
            )
        )
    except OSError as error:
        reason = error.strerror or type(error).__name__
        return _fail(f"The log file {args.log_file} cannot be written ({reason}).")
    except EngineError as error:
        return _fail(str(error))
    server = create_server(options)
    server.link.subscribe(LoadProgress(server).on_state)
    gc.freeze()
    gc.enable()
    server.start_io(stdin, stdout)
    # pygls swallows the exit code that the protocol foresees for an end without ``shutdown``.
    return 0 if server.has_shutdown_arrived else 1


def _minutes(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= _MAX_MINUTES:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of minutes, 0 or more")
    return value


def _fail(problem: str) -> int:
    sys.stderr.write(f"nemodiff lsp: {problem}\n")
    return 1


def take_stdio() -> tuple[BinaryIO, BinaryIO]:
    """Private copies of stdin and stdout; the process's own become empty and stderr.

    Descriptors 0 and 1 are pointed elsewhere, so that neither a print in C code nor a child
    process can write into the protocol or read from it.
    """
    sys.stdout.flush()
    stdin = os.fdopen(os.dup(0), "rb")
    stdout = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    return stdin, stdout


if __name__ == "__main__":
    sys.exit(main())
