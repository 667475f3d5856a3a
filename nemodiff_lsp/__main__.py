"""Command line of the language server: `nemodiff lsp`, which is `python -m nemodiff_lsp`.

Speaks the language server protocol on stdin and stdout. Nothing else may ever reach stdout, so
the protocol gets its own copy of it and the rest of the process writes to stderr.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from nemodiff_lsp.logs import LEVELS, configure_logging


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
        "--model", metavar="NAME", help="model for an engine that the server has to start"
    )
    parser.add_argument(
        "--no-engine-start",
        action="store_true",
        help="join a running engine only, never start one",
    )
    parser.add_argument("--log-file", metavar="FILE", type=Path, help="log here, not to stderr")
    parser.add_argument("--log-level", choices=LEVELS, default="WARNING", help="default: WARNING")


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until the client says ``exit`` or goes away; the exit code: 1 without ``shutdown``."""
    args = build_parser().parse_args(argv)
    stdin, stdout = take_stdio()
    # Imported only now that stdout is safe from whatever an import may print.
    from engine.errors import EngineError
    from engine.messages.address import EngineAddress
    from nemodiff_lsp.engine_link import EngineOptions
    from nemodiff_lsp.server import create_server

    try:
        configure_logging(args.log_level, args.log_file)
        socket = args.engine_socket
        address = EngineAddress.parse(socket) if socket else EngineAddress.default()
    except OSError as error:
        reason = error.strerror or type(error).__name__
        return _fail(f"The log file {args.log_file} cannot be written ({reason}).")
    except EngineError as error:
        return _fail(str(error))
    arguments = ("--model", args.model) if args.model else ()
    options = EngineOptions(address, arguments, may_start=not args.no_engine_start)
    server = create_server(options)
    server.start_io(stdin, stdout)
    # pygls swallows the exit code that the protocol foresees for an end without ``shutdown``.
    return 0 if server.has_shutdown_arrived else 1


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
