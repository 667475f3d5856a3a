"""`nemodiff complete FILE --line L --column C`: fill the hole at a cursor and print the result.

Registered by `main.py`. Asks the running engine, else runs one in this process.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import replace
from typing import Any

from engine.cli.source_file import SourceHole, find_hole, read_source, with_newline
from engine.cli.target import add_adapter_flags, existing_address, matching_name
from engine.config import DEFAULT_MODEL, EngineConfig
from engine.errors import EngineError
from engine.messages.completion import MODES, Choice, Completion, CompletionRequest, FieldError

# The engine takes fewer tokens than this; it only keeps request bodies small.
_MAX_PREFIX_CHARS, _MAX_SUFFIX_CHARS = 64_000, 16_000

_REQUEST_OPTIONS = (
    "mode",
    "max_tokens",
    "block_size",
    "confidence_threshold",
    "max_denoising_steps",
    "temperature",
    "seed",
    "n",
    "deadline_ms",
    "model",
    "gate",
)


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register `complete`."""
    parser = commands.add_parser(
        "complete",
        help="fill the hole at a cursor in a file",
        description="Fill the hole at a cursor in a file and print it in place. The file itself "
        "is not changed.",
    )
    parser.add_argument("file", metavar="FILE", help="a UTF-8 source file, or - for stdin")
    parser.add_argument("--line", type=int, required=True, metavar="L", help="1 = first line")
    parser.add_argument(
        "--column", type=int, required=True, metavar="C", help="characters left of the cursor"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    _add_request_options(parser)
    where = parser.add_mutually_exclusive_group()
    where.add_argument(
        "--engine-socket", metavar="PATH", help="ask the engine here (default: the user's own)"
    )
    where.add_argument(
        "--in-process", action="store_true", help="run the model here, whatever engine runs"
    )
    add_adapter_flags(parser.add_argument_group("adapters of a model that is run --in-process"))
    parser.set_defaults(run=run)


def _add_request_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("how to complete (default: the engine's own choice)")
    group.add_argument("--mode", choices=MODES)
    group.add_argument("--max-tokens", type=int, metavar="N")
    group.add_argument("--block-size", type=int, metavar="N")
    group.add_argument("--confidence-threshold", type=float, metavar="P")
    group.add_argument("--max-denoising-steps", type=int, metavar="N")
    group.add_argument("--temperature", type=float, metavar="T")
    group.add_argument("--seed", type=int, metavar="N")
    group.add_argument("--n", type=int, metavar="N", help="number of alternatives")
    group.add_argument(
        "--deadline-ms", type=float, metavar="MS", help="then print the best draft so far"
    )
    group.add_argument("--model", metavar="NAME", help=f"default: {DEFAULT_MODEL}")
    group.add_argument(
        "--no-gate",
        dest="gate",
        action="store_const",
        const=False,
        help="show a completion also where the engine would rather offer nothing",
    )


def run(args: argparse.Namespace) -> int:
    """Complete and print; exit code 0. Raises EngineError and the errors of loading a model."""
    hole = find_hole(read_source(args.file), args.line, args.column, args.file)
    request = build_request(args, hole)
    completion = _restore_newlines(_answer(args, request), hole.newline)
    if args.json:
        print(json.dumps(completion_as_json(completion, request.n)))
        return 0
    from rich.console import Console

    from engine.cli.show import show

    if hasattr(sys.stdout, "reconfigure"):
        # A terminal that cannot show a character must not end the program.
        sys.stdout.reconfigure(errors="replace")
    show(Console(highlight=False, markup=False, emoji=False), hole, completion)
    return 0


def build_request(args: argparse.Namespace, hole: SourceHole) -> CompletionRequest:
    """The request that the options ask for. Raises EngineError naming an option out of range."""
    before = hole.before[-_MAX_PREFIX_CHARS:]
    if len(before) < len(hole.before):
        before = before[before.find("\n") + 1 :]
    body: dict[str, Any] = {name: getattr(args, name) for name in _REQUEST_OPTIONS}
    # The model works with \n; the file's own line ends come back with the answer.
    body["prompt"] = with_newline(before, "\n")
    body["suffix"] = with_newline(hole.after[:_MAX_SUFFIX_CHARS], "\n")
    try:
        return CompletionRequest.from_json(body)
    except FieldError as error:
        problem = str(error).removeprefix(f"{error.field}: ")
        raise EngineError(f"--{error.field.replace('_', '-')} {problem}") from None


def completion_as_json(completion: Completion, num_asked: int) -> dict[str, Any]:
    """The object that ``--json`` prints; `alternatives` (texts) only when several were asked."""
    facts = completion.facts
    best = completion.choices[0] if completion.choices else Choice(0, "", "stop")
    body: dict[str, Any] = {
        "text": best.text,
        "mode": facts.mode,
        "route": facts.route,
        "route_reason": facts.route_reason,
        "finish_reason": best.finish_reason,
        "model": completion.model,
        "tokens": facts.tokens,
        "forwards": facts.forwards,
        "score": facts.score,
        "gated": facts.gated,
        "timings_ms": facts.timings_ms,
    }
    if num_asked > 1:
        body["alternatives"] = [choice.text for choice in completion.choices[1:]]
    return body


def _restore_newlines(completion: Completion, newline: str) -> Completion:
    choices = tuple(
        replace(choice, text=with_newline(choice.text, newline)) for choice in completion.choices
    )
    return replace(completion, choices=choices)


def _answer(args: argparse.Namespace, request: CompletionRequest) -> Completion:
    """Ask the engine that was named or runs already; without one, complete in this process."""
    from engine.messages.address import AddressError, EngineAddress
    from engine.messages.client import NoEngineError

    adapters = {kind: getattr(args, kind) for kind in ("draft_adapter", "causal_adapter")}
    if args.in_process:
        return _complete_in_process(request, **adapters)
    if any(adapters.values()):
        raise EngineError(
            "--draft-adapter and --causal-adapter are for a model that is run --in-process; a "
            "running engine keeps those it was started with."
        )
    if args.engine_socket is not None:
        return _ask(EngineAddress.parse(args.engine_socket), request, is_named=True)
    try:
        return _ask(existing_address(None), request, is_named=False)
    except NoEngineError:
        return _complete_in_process(request)
    except AddressError as error:
        print(f"nemodiff: {error} Completing without an engine.", file=sys.stderr)
        return _complete_in_process(request)


def _ask(address: Any, request: CompletionRequest, *, is_named: bool) -> Completion:
    """The engine's answer. Raises NoEngineError when none listens, EngineError for any other."""
    from engine.messages.client import EngineClient, NoEngineError

    with EngineClient(address) as client:
        health = client.health()
        names = [str(name) for name in health.get("model_names", [])]
        if request.model is not None:
            request = replace(request, model=matching_name(request.model, names) or request.model)
        if request.model is not None and request.model not in names:
            if not is_named:
                raise NoEngineError(f"The engine at {address} has another model.")
            raise EngineError(
                f"The engine at {address} runs {', '.join(names)}, not {request.model}; leave out "
                "--model, or leave out --engine-socket to run it in this process."
            )
        if health.get("state") == "loading":
            print("nemodiff: the engine is still loading its model.", file=sys.stderr)
        return client.complete(request)


def _complete_in_process(request: CompletionRequest, **adapters: Any) -> Completion:
    from engine.cli.models import progress_on_stderr

    with progress_on_stderr() as report:
        report("Importing torch", None)
        from engine.engine import Engine

        model = DEFAULT_MODEL if request.model is None else request.model
        engine = Engine.load(EngineConfig(model=model, **adapters), report)
        report("Completing", None)
        return engine.complete(
            request,
            is_cancelled=lambda: False,
            # The deadline counts from here: the user cannot know how long a load takes.
            arrived_s=time.monotonic(),
            emit=lambda index, text: None,
        )
