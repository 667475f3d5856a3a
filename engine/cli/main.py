"""The `nemodiff` command: parses, dispatches to one module per subcommand, and tells errors.

Entry point of the package and of `python -m engine`. Starts without torch; a subcommand that needs
it imports it when it runs.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import os
import runpy
import sys
from collections.abc import Sequence

from engine import __version__
from engine.bench import CASES as ENGINE_CASES
from engine.errors import EngineError

# Each module has add_parser(commands), which registers the parser and its run(args) -> exit code.
_COMMANDS = {
    "complete": "engine.cli.complete",
    "models": "engine.cli.models",
    "engine": "engine.cli.serve",
    "doctor": "engine.cli.doctor",
    "stats": "engine.cli.stats",
    "eval": "engine.cli.evaluate",
    "train": "engine.cli.train",
}
# Packages of the language server, which nothing here may import: each is run as a program.
_PROGRAMS = {
    "lsp": ("nemodiff_lsp", "run the language server on stdin and stdout"),
    "bench": ("nemodiff_lsp.bench", "measure the engine and the language server"),
}
# The cases of `bench` that measure the engine alone need nothing of the language server.
_ENGINE_BENCH = "engine.bench"
_TRACEBACK_VARIABLE = "NEMODIFF_TRACEBACK"

EXIT_FAILURE = 1
EXIT_INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code: 0, 1 after an error, 130 after an interrupt.

    Raises SystemExit(2) on wrong usage, as argparse does.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    # Spinning OpenMP workers take a core from the editor. Must be set before torch is imported.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    _fill_closed_streams()
    try:
        if sys.stdout is None:
            raise EngineError("Standard output is closed; send it to a file or to /dev/null.")
        if arguments[:1] == ["lsp"] and sys.stdin is None:
            raise EngineError("Standard input is closed; an editor speaks through it.")
        if arguments and arguments[0] in _PROGRAMS:
            return _run_program(arguments[0], arguments[1:])
        args = _parser(arguments).parse_args(arguments)
        code: int = args.run(args)
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        _tell("Interrupted.")
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # The interpreter flushes stdout once more at its end; let that go nowhere.
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        _tell("The output was closed before everything was written.")
        return EXIT_FAILURE
    except Exception as error:
        if os.environ.get(_TRACEBACK_VARIABLE):
            raise
        _tell(_sentence(error))
        return EXIT_FAILURE


def _fill_closed_streams() -> None:
    """Point each of the descriptors 0, 1 and 2 that is closed at nothing.

    Otherwise the next file or socket that is opened gets its number, and prints go there. Python's
    own object of such a stream stays None, by which a command knows, but for stderr.
    """
    if None not in (sys.stdin, sys.stdout, sys.stderr):
        return
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            # The lowest free number is taken, which is this one.
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    if sys.stderr is None:
        sys.stderr = open(2, "w", encoding="utf-8", closefd=False)


def _parser(arguments: Sequence[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="nemodiff",
        description="Code completion on your own machine: a block-diffusion language model fills "
        "the hole at the cursor.",
    )
    parser.add_argument("--version", action="version", version=f"nemodiff {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    # Only the module that is asked for is imported; help and mistakes need the names of all.
    chosen = arguments[0] if arguments and arguments[0] in _COMMANDS else None
    for name, module in _COMMANDS.items():
        if chosen in (None, name):
            importlib.import_module(module).add_parser(commands)
    if chosen is None:
        # Listed only: `main` runs them before this parser is made.
        for name, (_, summary) in _PROGRAMS.items():
            commands.add_parser(name, help=summary)
    return parser


def _run_program(name: str, arguments: Sequence[str]) -> int:
    """Run a package of the language server in this process; the arguments are its own."""
    sys.argv = [f"nemodiff {name}", *arguments]
    package = _PROGRAMS[name][0]
    if name == "bench" and arguments[:1] and arguments[0] in ENGINE_CASES:
        package = _ENGINE_BENCH
    try:
        runpy.run_module(package, run_name="__main__", alter_sys=True)
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            return end.code or 0
        _tell(str(end.code))
        return EXIT_FAILURE
    return 0


def _sentence(error: Exception) -> str:
    """One line for the user, whatever went wrong."""
    # Imported here because it pulls in packages that a command without an error never needs.
    from engine.messages.completion import FieldError
    from engine.server.faults import user_errors

    if isinstance(error, (*user_errors(), FieldError)):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        name = f": {error.filename}" if error.filename else ""
        return f"{error.strerror}{name}."
    first_line = (str(error).splitlines() or [""])[0]
    if isinstance(error, ValueError) and "null byte" in first_line:
        return "A path or name on the command line holds a NUL character; write it without one."
    return (
        f"nemodiff failed by a fault of its own ({type(error).__name__}: {first_line}); "
        f"set {_TRACEBACK_VARIABLE}=1 to see where."
    )


def _tell(sentence: str) -> None:
    with contextlib.suppress(OSError):
        print(f"nemodiff: {sentence}", file=sys.stderr, flush=True)
