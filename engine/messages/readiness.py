"""Wait until an engine has loaded its model, and find out why one ended instead.

Called by the command line after `engine.messages.launch` has started or joined an engine; no torch.
"""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from engine.messages.address import EngineAddress
from engine.messages.client import EngineClient, EngineUnavailable, NoEngineError
from engine.messages.launch import default_log_path, last_line
from engine.messages.processes import wait_for_end
from engine.messages.retire import STOP_TIMEOUT_S

READY_TIMEOUT_S = 600.0
_POLL_S = 0.05
# An engine that imports torch on a busy machine may be slow to answer.
_HEALTH_TIMEOUT_S = 60.0
# What the command line's error lines begin with, and how the last line of a traceback looks.
_COMMAND_PREFIX = "nemodiff: "
_EXCEPTION = re.compile(r"^([\w.]+(Error|Exception)\b|Fatal Python error)")


def wait_until_ready(
    client: EngineClient,
    report: Callable[[str, float | None], None],
    *,
    pid: int | None = None,
    timeout_s: float = READY_TIMEOUT_S,
) -> dict[str, Any]:
    """Wait until a listening engine has loaded its model; returns its /health.

    report(phase, fraction) gets the progress. pid: of the engine's process, where it is known.
    Raises EngineUnavailable with the engine's own last sentence when it fails or ends instead.
    """
    give_up_s = time.monotonic() + timeout_s
    while True:
        try:
            health = client.health(timeout_s=_HEALTH_TIMEOUT_S)
        except NoEngineError:
            raise EngineUnavailable(last_words(client.address, pid)) from None
        pid = int(health["pid"]) if client.address.is_local else None
        if health["state"] == "ready":
            return health
        if health["state"] == "failed":
            # It ends now; whoever looks next should not find it still listening.
            _await_end(pid)
            raise EngineUnavailable(str(health["failure"]))
        report(str(health["phase"]), health["fraction"])
        if time.monotonic() > give_up_s:
            raise EngineUnavailable(
                f"The engine has been loading its model for {timeout_s:.0f} s "
                f"({health['phase']}); `nemodiff engine status` tells how it goes on."
            )
        time.sleep(_POLL_S)


def last_failure(log_path: Path) -> str | None:
    """The sentence with which the log's last engine ended by an error; None if it did not.

    That is the last line, if the command line wrote it there or it ends a traceback.
    """
    return failure_in(last_line(log_path))


def failure_in(line: str) -> str | None:
    """The sentence or exception of an engine's last line; None for a line of ordinary life."""
    if line.startswith(_COMMAND_PREFIX):
        return line.removeprefix(_COMMAND_PREFIX)
    return line if _EXCEPTION.match(line) else None


def last_words(address: EngineAddress, pid: int | None) -> str:
    """Why an engine that listened a moment ago does not any more, in its own last sentence.

    Waits for the end of process `pid` if that is known, else the log may not be complete yet.
    """
    # It writes its last line after it has closed the socket.
    _await_end(pid)
    log_path = None if address.path is None else default_log_path(address)
    failure = None if log_path is None else last_failure(log_path)
    if failure is not None:
        return failure
    where = "" if log_path is None else f" Its log is {log_path}."
    return f"The engine at {address} ended while it loaded its model.{where}"


def _await_end(pid: int | None) -> None:
    if pid is not None:
        # Not allowed to look, or no such process: there is nothing to wait for.
        with contextlib.suppress(OSError):
            wait_for_end(pid, STOP_TIMEOUT_S)
