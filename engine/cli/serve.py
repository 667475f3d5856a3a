"""`nemodiff engine serve|start|stop|status|logs`: run the resident engine and look after it.

Registered by `main.py`. The top level imports nothing heavy; `serve` imports torch on its thread.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import deque
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.config import EngineConfig

if TYPE_CHECKING:
    from engine.messages.address import EngineAddress
    from engine.server.engine_thread import CompletionEngine, Report

DEFAULT_PORT = 8712
_LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")
Commands = (
    argparse._SubParsersAction
)  # the type of what add_subparsers() returns has no public name


def add_parser(commands: Commands[argparse.ArgumentParser]) -> None:
    """Register `engine` and its actions."""
    parser = commands.add_parser("engine", help="run, start, stop or look at the resident engine")
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    _add_serve(actions)

    start = actions.add_parser("start", help="start an engine in the background, if none runs")
    _add_address(start)
    _add_engine_flags(start)
    start.set_defaults(run=_start)

    stop = actions.add_parser("stop", help="end the running engine")
    _add_address(stop)
    stop.set_defaults(run=_stop)

    status = actions.add_parser("status", help="what runs, on which device, and why")
    _add_address(status)
    status.add_argument("--json", action="store_true", help="print /health as JSON")
    status.set_defaults(run=_status)

    logs = actions.add_parser("logs", help="print the end of the background engine's log")
    _add_address(logs)
    logs.add_argument("--lines", type=_positive, default=50, metavar="N", help="default: 50")
    logs.set_defaults(run=_logs)


def _add_serve(actions: Commands[argparse.ArgumentParser]) -> None:
    serve = actions.add_parser("serve", help="run the engine in the foreground")
    serve.add_argument("--socket", metavar="PATH", help="Unix socket (default: the user's own)")
    serve.add_argument("--host", help="listen on TCP at this address (default: 127.0.0.1)")
    serve.add_argument(
        "--port",
        type=_port,
        help=f"listen on TCP at this port, 0 = any free (default: {DEFAULT_PORT})",
    )
    serve.add_argument(
        "--max-queued",
        type=_positive,
        default=64,
        metavar="N",
        help="waiting requests (default: 64)",
    )
    serve.add_argument("--log-level", choices=_LOG_LEVELS, default="INFO")
    _add_engine_flags(serve)
    serve.set_defaults(run=run)


def _add_address(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--socket", metavar="PATH|URL", help="where the engine listens (default: the user's own)"
    )


def _add_engine_flags(parser: argparse.ArgumentParser) -> None:
    """Flags that mirror EngineConfig; each one's destination is the name of the field."""
    default = EngineConfig()
    group = parser.add_argument_group("model")
    group.add_argument(
        "--model",
        default=default.model,
        help="name of `nemodiff models list`, folder, .gguf file or hub id (default: %(default)s)",
    )
    group.add_argument("--device", default=default.device, help="auto, cpu, cuda or cuda:N")
    group.add_argument("--dtype", default=default.dtype, choices=("auto", "float32", "bfloat16"))
    group.add_argument(
        "--threads", dest="num_threads", type=_positive, metavar="N", help="torch threads on a CPU"
    )
    group.add_argument("--offline", action="store_true", help="never use the network")
    group.add_argument(
        "--adapter", dest="draft_adapter", type=Path, metavar="FOLDER", help="draft adapter"
    )
    group.add_argument("--causal-adapter", type=Path, metavar="FOLDER", help="merged into the base")
    for name in (
        "max_prefix_tokens",
        "max_suffix_tokens",
        "prefill_chunk_tokens",
        "max_cache_bytes",
    ):
        group.add_argument(
            "--" + name.replace("_", "-"),
            type=_positive,
            default=getattr(default, name),
            metavar="N",
            help="default: %(default)s"
            if getattr(default, name)
            else "default: chosen by the engine",
        )


def engine_config(args: argparse.Namespace) -> EngineConfig:
    """The EngineConfig that the flags ask for."""
    return EngineConfig(**{field.name: getattr(args, field.name) for field in fields(EngineConfig)})


def engine_arguments(args: argparse.Namespace) -> list[str]:
    """The flags again, for an engine started in another process; only those that differ."""
    default = EngineConfig()
    flags = {"num_threads": "--threads", "draft_adapter": "--adapter"}
    arguments: list[str] = []
    for field in fields(EngineConfig):
        value = getattr(args, field.name)
        if value == getattr(default, field.name):
            continue
        arguments.append(flags.get(field.name, "--" + field.name.replace("_", "-")))
        if value is not True:
            arguments.append(str(value))
    return arguments


def run(args: argparse.Namespace) -> int:
    """Serve in the foreground until a signal. Raises EngineError."""
    from engine.messages.address import default_socket
    from engine.server.serve import ListenOptions, serve

    is_tcp = args.host is not None or args.port is not None
    if is_tcp and args.socket is not None:
        print("nemodiff: choose --socket or --host and --port, not both.", file=sys.stderr)
        return 2
    listen = ListenOptions(
        socket=None if is_tcp else Path(args.socket or default_socket()).absolute(),
        host="127.0.0.1" if args.host is None else args.host,
        port=DEFAULT_PORT if args.port is None else args.port,
        max_queued=args.max_queued,
        log_level=args.log_level,
    )
    config = engine_config(args)

    def load(report: Report) -> CompletionEngine:
        report("importing torch", None)
        from engine.engine import Engine

        return Engine.load(config, report)

    return serve(listen, load, model_names=(config.model,))


def _address(args: argparse.Namespace) -> EngineAddress:
    from engine.messages.address import EngineAddress

    return EngineAddress.default() if args.socket is None else EngineAddress.parse(args.socket)


def _start(args: argparse.Namespace) -> int:
    from engine.messages.launch import ensure_engine, is_running

    address = _address(args)
    if is_running(address):
        print(f"An engine already runs on {address}.")
        return 0
    ensure_engine(address, arguments=engine_arguments(args))
    print(f"An engine runs on {address}; `nemodiff engine status` tells when its model is loaded.")
    return 0


def _stop(args: argparse.Namespace) -> int:
    from engine.messages.launch import stop_engine

    address = _address(args)
    print(
        f"Stopped the engine on {address}."
        if stop_engine(address)
        else f"No engine runs on {address}."
    )
    return 0


def _status(args: argparse.Namespace) -> int:
    from engine.messages.client import EngineClient, NoEngineError

    address = _address(args)
    try:
        with EngineClient(address) as client:
            health = client.health()
    except NoEngineError:
        health = None
    if args.json:
        print(json.dumps(health or {"state": "none", **_local_choice()}))
    elif health is None:
        print(f"No engine runs on {address}; `nemodiff engine start` starts one.")
        print("On this machine it would use:")
        _print_facts(_local_choice())
    else:
        _print_health(address, health)
    return 0


def _local_choice() -> dict[str, Any]:
    """What this machine would run on; imports torch."""
    from engine.device import choose_device

    choice = choose_device("auto", "auto", None)
    return {
        "device": str(choice.device),
        "dtype": str(choice.dtype).removeprefix("torch."),
        "num_threads": choice.num_threads,
        "reasons": list(choice.reasons),
    }


def _print_health(address: EngineAddress, health: dict[str, Any]) -> None:
    state = health["state"]
    if state == "loading":
        fraction = health["fraction"]
        state += f": {health['phase']}" + ("" if fraction is None else f" ({fraction:.0%})")
    print(f"An engine runs on {address}.")
    _print_facts({"state": state, "version": health["version"], "pid": health["pid"]})
    _print_facts(health["engine"])


def _print_facts(facts: dict[str, Any]) -> None:
    for name, value in facts.items():
        values = value if isinstance(value, list) else [value]
        for number, item in enumerate(values):
            print(f"  {name.replace('_', ' ') if number == 0 else '':<20} {item}")


def _logs(args: argparse.Namespace) -> int:
    from engine.errors import EngineError
    from engine.messages.launch import default_log_path

    path = default_log_path(_address(args))
    try:
        with path.open(encoding="utf-8", errors="replace") as log:
            sys.stdout.writelines(deque(log, maxlen=args.lines))
    except FileNotFoundError:
        raise EngineError(
            f"There is no log at {path}: no engine was started in the background."
        ) from None
    return 0


def _positive(text: str) -> int:
    value = int(text) if text.isdecimal() else 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return value


def _port(text: str) -> int:
    value = int(text) if text.isdecimal() else -1
    if not 0 <= value <= 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port (0 to 65535)")
    return value
