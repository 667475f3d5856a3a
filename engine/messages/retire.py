"""End a running engine: at once (`stop_engine`) or when its work is done (`retire_engine`).

Called by the command line, and by `launch.py` for an engine of an older version. No torch.
"""

from __future__ import annotations

from engine.messages.address import EngineAddress
from engine.messages.client import EngineClient
from engine.messages.errors import EngineUnavailable, NoEngineError, OtherVersionError
from engine.messages.listener import engine_process
from engine.messages.processes import kill, terminate, wait_for_end

STOP_TIMEOUT_S = 30.0
# An engine that hangs may still hear the signal; one that is stopped never does.
_HUNG_TIMEOUT_S = 2.0
DRAIN_TIMEOUT_S = 30.0

LEAVING_STATES = ("stopping", "draining")
"""States of an engine that takes no more work and ends by itself."""


def stop_engine(address: EngineAddress, *, timeout_s: float = STOP_TIMEOUT_S) -> bool:
    """End the engine and wait until its process is gone; False when none was running.

    One that does not answer is killed, if it is certain to be an engine of this user. Raises
    EngineUnavailable for an engine on another machine or one that does not end.
    """
    if not address.is_local:
        raise EngineUnavailable(f"The engine at {address} is on another machine; stop it there.")
    try:
        pid = _pid_of(address)
    except EngineUnavailable:
        hung = engine_process(address)
        if hung is None:
            raise
        _kill(address, hung)
        return True
    if pid is None:
        return False
    _terminate(address, pid, timeout_s)
    return True


def retire_engine(address: EngineAddress, pid: int | None) -> None:
    """Let the engine finish its work and end, whatever its version. Raises EngineUnavailable.

    pid: its process, as it told it.
    """
    if pid is None:
        raise EngineUnavailable(
            f"The engine at {address} is of an older version and does not tell its process id; "
            "end it by hand."
        )
    try:
        with EngineClient(address) as client:
            is_draining = client.drain()
    except EngineUnavailable:
        # It may have gone in between, or break off; what counts is that its process ends.
        is_draining = False
    if not is_draining:
        # Versions before this one know no draining, but a signal lets them answer and clean up.
        _terminate(address, pid)
    await_leaving(address, pid)


def await_leaving(address: EngineAddress, pid: int) -> None:
    """Wait until process `pid`, which is about to end, has done so. Raises EngineUnavailable."""
    try:
        if wait_for_end(pid, DRAIN_TIMEOUT_S):
            return
    except PermissionError:
        raise _of_another_user(address, pid) from None
    _terminate(address, pid)


def _terminate(address: EngineAddress, pid: int, timeout_s: float = STOP_TIMEOUT_S) -> None:
    """End process `pid` and wait for that. Raises EngineUnavailable."""
    try:
        has_ended = terminate(pid, timeout_s)
    except ProcessLookupError:
        return
    except PermissionError:
        raise _of_another_user(address, pid) from None
    if not has_ended:
        raise EngineUnavailable(
            f"The engine (process {pid}) has not ended after {timeout_s:.0f} s; end it with "
            f"`kill -9 {pid}`."
        )


def _kill(address: EngineAddress, pid: int) -> None:
    """End process `pid`, which hangs, one way or the other. Raises EngineUnavailable."""
    try:
        if terminate(pid, _HUNG_TIMEOUT_S) or kill(pid, STOP_TIMEOUT_S):
            return
    except ProcessLookupError:
        return
    except PermissionError:
        raise _of_another_user(address, pid) from None
    raise EngineUnavailable(f"The engine (process {pid}) hangs and cannot be killed.")


def _of_another_user(address: EngineAddress, pid: int) -> EngineUnavailable:
    return EngineUnavailable(f"The engine at {address} (process {pid}) belongs to another user.")


def _pid_of(address: EngineAddress) -> int | None:
    """The engine's process, whatever its version; None without one. Raises EngineUnavailable."""
    with EngineClient(address) as client:
        try:
            return int(client.health()["pid"])
        except NoEngineError:
            return None
        except OtherVersionError as error:
            if error.pid is None:
                raise
            return error.pid
