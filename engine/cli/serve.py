"""`nemodiff engine`: its flags, and `serve`, which is the resident engine itself.

Registered by `main.py`; start, stop, status and logs are in `resident.py`. The top level imports
nothing heavy; `serve` imports torch on its thread.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING

from engine.cli.target import add_adapter_flags, add_graph_flags
from engine.config import WEIGHTS, EngineConfig

if TYPE_CHECKING:
    from engine.messages.address import EngineAddress
    from engine.server.engine_thread import CompletionEngine, Report
    from engine.server.serve import ListenOptions

DEFAULT_PORT = 8712
_LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")
DEFAULT_IDLE_EXIT_MINUTES = 15.0
_MAX_IDLE_EXIT_MINUTES = 60.0 * 24 * 365
# The type of what add_subparsers() returns has no public name.
Commands = argparse._SubParsersAction


class UsageError(Exception):
    """Flags that do not go together."""


def add_parser(commands: Commands[argparse.ArgumentParser]) -> None:
    """Register `engine` and its actions."""
    parser = commands.add_parser("engine", help="run, start, stop or look at the resident engine")
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    _add_serve(actions)

    start = actions.add_parser("start", help="start an engine in the background, if none runs")
    _add_address(start)
    start.add_argument(
        "--no-wait", action="store_true", help="do not wait until the model is loaded"
    )
    _add_idle_exit(start)
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
    logs.add_argument(
        "--follow", action="store_true", help="go on printing what is added, until Ctrl-C"
    )
    logs.set_defaults(run=_logs)


def _add_serve(actions: Commands[argparse.ArgumentParser]) -> None:
    serve = actions.add_parser("serve", help="run the engine in the foreground")
    serve.add_argument("--socket", metavar="PATH", help="Unix socket (default: the user's own)")
    serve.add_argument(
        "--endpoint-file",
        metavar="FILE",
        help="listen on loopback TCP and write address and a new token here (0600)",
    )
    serve.add_argument("--host", help="listen on TCP at this address (default: 127.0.0.1)")
    serve.add_argument(
        "--port",
        type=_port,
        help=f"listen on TCP at this port, 0 = any free (default: {DEFAULT_PORT})",
    )
    serve.add_argument(
        "--token-file", metavar="FILE", help="on --host: ask for the token in this file"
    )
    serve.add_argument("--tls-cert", type=Path, metavar="FILE", help="on --host: certificate (PEM)")
    serve.add_argument("--tls-key", type=Path, metavar="FILE", help="its key, if not in the same")
    _add_idle_exit(serve)
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


def _add_idle_exit(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--idle-exit-minutes",
        type=_minutes,
        metavar="N",
        help="leave after so long without work; 0 = never "
        f"(default: {DEFAULT_IDLE_EXIT_MINUTES:g}, with --host or --port 0)",
    )


def _add_engine_flags(parser: argparse.ArgumentParser) -> None:
    """Flags that mirror EngineConfig; each one's destination is the name of the field."""
    default = EngineConfig()
    group = parser.add_argument_group("model")
    group.add_argument(
        "--model",
        help="name of `nemodiff models list`, folder, .gguf file or hub id "
        f"(default: {default.model})",
    )
    group.add_argument("--device", default=default.device, help="auto, cpu, cuda or cuda:N")
    group.add_argument("--dtype", default=default.dtype, choices=("auto", "float32", "bfloat16"))
    group.add_argument(
        "--weights",
        default=default.weights,
        choices=WEIGHTS,
        help="linear layers: full is in --dtype; auto is int8 on a CPU where that is quicker, else "
        "full; int4 and fp8 are for GPUs (docs/quantisation.md)",
    )
    group.add_argument(
        "--threads", dest="num_threads", type=_positive, metavar="N", help="threads on a CPU"
    )
    group.add_argument("--offline", action="store_true", help="never use the network")
    add_adapter_flags(group)
    add_graph_flags(group)
    for name in (
        "max_prefix_tokens",
        "max_suffix_tokens",
        "max_context_tokens",
        "prefill_chunk_tokens",
        "max_cache_bytes",
    ):
        group.add_argument(
            "--" + name.replace("_", "-"),
            type=_whole if name == "max_context_tokens" else _positive,
            default=getattr(default, name),
            metavar="N",
            help="default: %(default)s"
            if getattr(default, name)
            else "default: chosen by the engine",
        )


def engine_config(args: argparse.Namespace) -> EngineConfig:
    """The EngineConfig that the flags ask for."""
    values = {field.name: getattr(args, field.name) for field in fields(EngineConfig)}
    if args.model is None:
        values["model"] = EngineConfig().model
    return EngineConfig(**values)


def engine_arguments(args: argparse.Namespace) -> list[str]:
    """The flags again, for an engine started in another process; only those that differ."""
    config, default = engine_config(args), EngineConfig()
    flags = {"num_threads": "--threads"}
    arguments: list[str] = []
    for field in fields(EngineConfig):
        value = getattr(config, field.name)
        if value == getattr(default, field.name):
            continue
        flag = flags.get(field.name, "--" + field.name.replace("_", "-"))
        # Joined, because a value may begin with a dash.
        arguments.append(flag if value is True else f"{flag}={value}")
    return arguments


def run(args: argparse.Namespace) -> int:
    """Serve in the foreground until a signal or an idle exit. Raises EngineError."""
    from engine.server.serve import serve

    try:
        listen = _listen_options(args)
    except UsageError as error:
        print(f"nemodiff: {error}", file=sys.stderr)
        return 2
    config = engine_config(args)

    def load(report: Report) -> CompletionEngine:
        report("importing torch", None)
        from engine.engine import Engine

        return Engine.load(config, report)

    return serve(listen, load, model_names=(config.model,))


def _listen_options(args: argparse.Namespace) -> ListenOptions:
    """Where the flags say to listen. Raises EngineError for flags that exclude each other."""
    from engine.messages.address import EngineAddress, read_token
    from engine.server.serve import ListenOptions

    is_tcp = args.host is not None or args.port is not None
    if is_tcp + (args.socket is not None) + (args.endpoint_file is not None) > 1:
        raise UsageError("choose one of --socket, --endpoint-file, and --host with --port.")
    for_tcp = {"--token-file": args.token_file, "--tls-cert": args.tls_cert}
    misplaced = [name for name, value in for_tcp.items() if value is not None and not is_tcp]
    if misplaced:
        raise UsageError(f"{misplaced[0]} needs --host or --port.")
    if args.tls_key is not None and args.tls_cert is None:
        raise UsageError("--tls-key needs --tls-cert.")
    minutes = args.idle_exit_minutes
    if minutes is None:
        minutes = 0.0 if is_tcp else DEFAULT_IDLE_EXIT_MINUTES
    common = ListenOptions(
        idle_exit_s=minutes * 60 or None, max_queued=args.max_queued, log_level=args.log_level
    )
    if is_tcp:
        return replace(
            common,
            host="127.0.0.1" if args.host is None else args.host,
            port=DEFAULT_PORT if args.port is None else args.port,
            token=None if args.token_file is None else read_token(Path(args.token_file)),
            tls_cert=args.tls_cert,
            tls_key=args.tls_key,
        )
    if args.endpoint_file is not None:
        return replace(common, endpoint_file=Path(args.endpoint_file).absolute())
    if args.socket is not None:
        return replace(common, socket=Path(args.socket).absolute())
    own = EngineAddress.default()
    return replace(common, socket=own.socket, endpoint_file=own.endpoint_file)


def _address(args: argparse.Namespace) -> EngineAddress:
    from engine.cli.target import existing_address

    return existing_address(args.socket)


def _start(args: argparse.Namespace) -> int:
    from engine.cli.resident import start
    from engine.messages.address import EngineAddress

    address = EngineAddress.default() if args.socket is None else EngineAddress.parse(args.socket)
    arguments = engine_arguments(args)
    if args.idle_exit_minutes is not None:
        arguments.append(f"--idle-exit-minutes={args.idle_exit_minutes:g}")
    return start(address, model=args.model, arguments=arguments, wait=not args.no_wait)


def _stop(args: argparse.Namespace) -> int:
    from engine.cli.resident import stop

    return stop(_address(args))


def _status(args: argparse.Namespace) -> int:
    from engine.cli.resident import status

    return status(_address(args), as_json=args.json)


def _logs(args: argparse.Namespace) -> int:
    from engine.cli.resident import logs

    return logs(_address(args), args.lines, is_followed=args.follow)


def _positive(text: str) -> int:
    value = int(text) if text.isdecimal() else 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return value


def _whole(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number, 0 or more")
    return int(text)


def _minutes(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= _MAX_IDLE_EXIT_MINUTES:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of minutes, 0 or more")
    return value


def _port(text: str) -> int:
    value = int(text) if text.isdecimal() else -1
    if not 0 <= value <= 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port (0 to 65535)")
    return value
