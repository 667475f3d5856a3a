"""An engine for one measurement: on a socket of its own, and ended with the measurement.

Used by `engine.cli.evaluate` when the user names no running engine. Imports no torch: the engine
is a process of its own.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from engine.messages.address import EngineAddress
from engine.messages.client import EngineClient, EngineUnavailable, NoEngineError
from engine.messages.launch import default_log_path, ensure_engine, last_line, stop_engine

Report = Callable[[str, float | None], None]

_POLL_S = 0.2
_PARTING_S = 5.0
# How the command line opens the sentence that it ends with.
_PROGRAM = "nemodiff: "


@contextmanager
def own_engine(arguments: Sequence[str]) -> Iterator[EngineAddress]:
    """Start ``nemodiff engine serve`` with `arguments`; its process and folder end with the block.

    The model may still be loading. Raises EngineUnavailable.
    """
    with tempfile.TemporaryDirectory(prefix="nemodiff-eval-") as folder:
        address = EngineAddress(socket=Path(folder) / "engine.sock")
        try:
            ensure_engine(address, arguments=arguments)
            yield address
        except NoEngineError as error:
            # Its log goes with the folder, so what it says about the end is told now.
            raise EngineUnavailable(_why_it_ended(address) or str(error)) from None
        finally:
            stop_engine(address)


def wait_until_loaded(address: EngineAddress, report: Report) -> dict[str, Any]:
    """Wait for the engine's model and return what /health tells then.

    report: called with the phase of loading and its finished fraction. Raises EngineUnavailable
    with the engine's own sentence when the model cannot be loaded.
    """
    with EngineClient(address) as client:
        while True:
            health = client.health()
            if health["state"] == "ready":
                return health
            if health["state"] != "loading":
                raise EngineUnavailable(
                    health["failure"] or f"The engine at {address} is {health['state']}."
                )
            report(f"loading the model: {health['phase']}", health["fraction"])
            time.sleep(_POLL_S)


def _why_it_ended(address: EngineAddress) -> str:
    """What an engine that was started here last wrote to its log; "" if there is nothing.

    It closes its socket before it writes the sentence it ends with, hence the wait for that one.
    """
    log_path = default_log_path(address)
    until_s = time.monotonic() + _PARTING_S
    while not (line := last_line(log_path)).startswith(_PROGRAM):
        if time.monotonic() > until_s:
            return f"The engine has ended; the last line of its log is: {line}" if line else ""
        time.sleep(_POLL_S)
    return line.removeprefix(_PROGRAM)
