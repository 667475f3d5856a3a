"""`nemodiff engine start|stop|status|logs`: look after the resident engine from outside.

Called by `serve.py`, which registers the commands. Only `status` without an engine imports torch.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from engine.cli.target import matching_name
from engine.errors import EngineError
from engine.messages.address import EngineAddress

_FOLLOW_POLL_S = 0.25

if TYPE_CHECKING:
    from engine.messages.client import EngineClient


def start(
    address: EngineAddress, *, model: str | None, arguments: Sequence[str], wait: bool
) -> int:
    """Start an engine, or join the running one if it has the model that is asked for.

    model: None when any will do. arguments: flags of `engine serve`. wait: return only once the
    model is loaded. Raises EngineError when it cannot be loaded or another one runs.
    """
    from engine.messages.client import EngineClient, NoEngineError
    from engine.messages.launch import ensure_engine

    with EngineClient(address) as client:
        try:
            health: dict[str, Any] | None = client.health()
        except NoEngineError:
            health = None
        if health is not None:
            _refuse_other_model(model, health)
            if wait:
                health = _ready(client)
            print(f"An engine already runs on {address} with {_names(health)[0]}.")
            if arguments:
                print("nemodiff: It keeps the options it was started with.", file=sys.stderr)
            return 0
        pid = ensure_engine(address, arguments=arguments)
        if wait:
            health = _ready(client, pid)
            _refuse_other_model(model, health)  # when somebody else was quicker
            print(f"An engine runs on {address} with {_names(health)[0]}.")
        else:
            print(f"An engine runs on {address}; `nemodiff engine status` tells when it is ready.")
    return 0


def stop(address: EngineAddress) -> int:
    """End the engine, if one runs."""
    from engine.messages.launch import stop_engine

    print(
        f"Stopped the engine on {address}."
        if stop_engine(address)
        else f"No engine runs on {address}."
    )
    return 0


def status(address: EngineAddress, *, as_json: bool) -> int:
    """Print what runs; without an engine, why the last one ended and what this machine would use.

    The object that ``--json`` prints without an engine has `state` "none" and `last_failure`.
    """
    from engine.messages.client import EngineClient, NoEngineError

    try:
        with EngineClient(address) as client:
            health = client.health()
    except NoEngineError:
        health = None
    if health is not None:
        print(json.dumps(health)) if as_json else _print_health(address, health)
        return 0
    failure = _last_failure(address)
    if as_json:
        print(json.dumps({"state": "none", "last_failure": failure, **_local_choice()}))
        return 0
    print(f"No engine runs on {address}; `nemodiff engine start` starts one.")
    if failure is not None:
        print(f"The last one ended by an error: {failure}")
    print("On this machine it would use:")
    _print_facts(_local_choice())
    return 0


def logs(address: EngineAddress, num_lines: int, *, is_followed: bool = False) -> int:
    """Print the end of the log of an engine that was started in the background.

    is_followed: go on with what is added, also by the engines after it, until an interrupt.
    """
    from engine.messages.launch import default_log_path

    path = default_log_path(address)
    try:
        with path.open(encoding="utf-8", errors="replace") as log:
            sys.stdout.writelines(deque(log, maxlen=num_lines))
            if is_followed:
                _follow(path, log)
    except FileNotFoundError:
        raise EngineError(
            f"There is no log at {path}: no engine was started in the background."
        ) from None
    except KeyboardInterrupt:
        # How following ends.
        pass
    return 0


def _follow(path: Path, log: TextIO) -> None:
    """Print what is added to `log`; when a new file takes its place, go on with that one."""
    while True:
        sys.stdout.writelines(log)
        sys.stdout.flush()
        time.sleep(_FOLLOW_POLL_S)
        with contextlib.suppress(FileNotFoundError):
            if os.fstat(log.fileno()).st_ino != path.stat().st_ino:
                sys.stdout.writelines(log)
                log = path.open(encoding="utf-8", errors="replace")


def _refuse_other_model(model: str | None, health: dict[str, Any]) -> None:
    names = _names(health)
    if model is not None and matching_name(model, names) is None:
        raise EngineError(
            f"An engine runs with {names[0]}, not {model}; stop it first (`nemodiff engine stop`)."
        )


def _names(health: dict[str, Any]) -> list[str]:
    return [str(name) for name in health.get("model_names", [])] or ["an unknown model"]


def _ready(client: EngineClient, pid: int | None = None) -> dict[str, Any]:
    from engine.cli.models import progress_on_stderr
    from engine.messages.readiness import wait_until_ready

    with progress_on_stderr() as report:
        return wait_until_ready(client, report, pid=pid)


def _last_failure(address: EngineAddress) -> str | None:
    from engine.messages.launch import default_log_path
    from engine.messages.readiness import last_failure

    if address.path is None:
        return None
    log_path = default_log_path(address)
    if failure := last_failure(log_path):
        return failure
    # An engine that ends by itself, well or not, removes its socket or endpoint file.
    if address.path.exists():
        return f"it was killed or crashed; its log is {log_path}."
    return None


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
