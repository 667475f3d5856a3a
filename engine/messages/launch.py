"""Join the running engine or start one: exactly one however many callers race.

Called by the command line and the language server; imports no torch.
"""

from __future__ import annotations

import asyncio
import os
import queue
import subprocess
import sys
import sysconfig
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

from filelock import FileLock, Timeout

import engine
from engine.messages.address import (
    PROTOCOL_VERSION,
    TOKEN_VARIABLE,
    EngineAddress,
    ensure_private_folder,
)
from engine.messages.client import EngineClient
from engine.messages.errors import EngineUnavailable, NoEngineError, OtherVersionError
from engine.messages.retire import LEAVING_STATES, await_leaving, retire_engine
from engine.messages.retire import stop_engine as stop_engine

START_TIMEOUT_S = 60.0
_MAX_LOG_BYTES = 2**20

# A session of its own: what ends the window that started the engine does not reach it.
_DETACHED: dict[str, Any] = {"start_new_session": True}
if sys.platform == "win32":
    _DETACHED = {"creationflags": subprocess.DETACHED_PROCESS | subprocess.CREATE_NEW_PROCESS_GROUP}

# -P: otherwise an `engine` folder in the user's working directory would be run instead of ours.
_SERVE_COMMAND = (sys.executable, "-P", "-m", "engine", "engine", "serve")


def default_log_path(address: EngineAddress) -> Path:
    """The log of an engine that was started in the background. Raises EngineUnavailable."""
    return _path_of(address).with_suffix(".log")


def ensure_engine(
    address: EngineAddress,
    *,
    arguments: Sequence[str] = (),
    log_path: Path | None = None,
    command: Sequence[str] | None = None,
    timeout_s: float = START_TIMEOUT_S,
) -> int | None:
    """Return once an engine listens on `address`; its model may still be loading.

    The result is the process id of an engine that was started here, None for one that ran already.
    One with an older protocol is asked to finish its work and leave first.

    arguments: flags of `nemodiff engine serve` for an engine that must be started; a running one
    is joined as it is. command: the program that serves, to which the address and `arguments` are
    added. Raises EngineUnavailable when none can be had, with the last line of what the started
    process wrote to its log; OtherVersionError when one with a newer protocol runs.
    """
    if _is_usable(address):
        return None
    path = _path_of(address)
    ensure_private_folder(path.parent)
    log_path = log_path or default_log_path(address)
    try:
        # Held until the new engine listens: every other caller finds it when its turn comes.
        with FileLock(f"{path}.start.lock", timeout=timeout_s, mode=0o600):
            if _is_joinable(address):
                return None
            where = ("--socket" if address.socket else "--endpoint-file", str(path))
            full_command = [*(command or _SERVE_COMMAND), *where, *arguments]
            return _start(address, full_command, log_path, timeout_s)
    except Timeout:
        raise EngineUnavailable(
            f"Another program has been starting the engine for {timeout_s:.0f} s; see {log_path}."
        ) from None


async def ensure_engine_async(
    address: EngineAddress,
    *,
    arguments: Sequence[str] = (),
    log_path: Path | None = None,
    command: Sequence[str] | None = None,
    timeout_s: float = START_TIMEOUT_S,
) -> int | None:
    """`ensure_engine` without blocking the event loop."""
    return await asyncio.to_thread(
        ensure_engine,
        address,
        arguments=arguments,
        log_path=log_path,
        command=command,
        timeout_s=timeout_s,
    )


def is_running(address: EngineAddress) -> bool:
    """Whether an engine answers. Raises EngineUnavailable when what answers cannot be used."""
    with EngineClient(address) as client:
        try:
            client.health()
        except NoEngineError:
            return False
    return True


def _is_usable(address: EngineAddress) -> bool:
    """Whether an engine of our version answers and is there to stay. Raises EngineUnavailable."""
    try:
        with EngineClient(address) as client:
            return client.health().get("state") not in LEAVING_STATES
    except NoEngineError:
        return False
    except OtherVersionError as error:
        if error.protocol > PROTOCOL_VERSION or address.path is None:
            raise
        return False


def last_line(log_path: Path, offset: int = 0) -> str:
    """The last line of the log that is not blank, from byte `offset` on; "" when there is none."""
    try:
        with log_path.open("rb") as log:
            size = log.seek(0, os.SEEK_END)
            log.seek(max(offset, size - 2**16))
            lines = log.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return ""
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


def _path_of(address: EngineAddress) -> Path:
    if address.path is None:
        raise EngineUnavailable(
            f"No engine listens on {address}, and one is started by itself only on a Unix socket; "
            "start it with `nemodiff engine serve --host HOST --port PORT`."
        )
    return address.path


def _is_joinable(address: EngineAddress) -> bool:
    """`is_running`, after an older or a leaving engine has been waited for; False without any."""
    try:
        with EngineClient(address) as client:
            health = client.health()
    except NoEngineError:
        return False
    except OtherVersionError as error:
        # The newer one always wins: two versions must not take turns in ending each other.
        if error.protocol > PROTOCOL_VERSION:
            raise
        retire_engine(address, error.pid)
        return False
    if health.get("state") not in LEAVING_STATES:
        return True
    await_leaving(address, int(health["pid"]))
    return False


def _start(
    address: EngineAddress, command: list[str], log_path: Path, timeout_s: float
) -> int | None:
    """Run `command` detached and wait until it tells on its stdout that it listens; its pid."""
    with _open_log(log_path) as log:
        offset = log.tell()
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                env=_environment(),
                **_DETACHED,
            )
        except OSError as error:
            raise EngineUnavailable(f"The engine cannot be started ({error}).") from None
    is_listening = _announces(process, timeout_s)
    if is_listening:
        # Somebody must collect its exit status, or it stays a zombie while this process lives.
        threading.Thread(target=process.wait, name="engine-reaper", daemon=True).start()
        return process.pid
    if is_listening is None:
        process.kill()
    process.wait()
    # Somebody else may have started one by hand in the meantime.
    if is_running(address):
        return None
    why = (
        last_line(log_path, offset).removeprefix("nemodiff: ")
        if is_listening is not None
        else f"it did not listen within {timeout_s:.0f} s"
    )
    raise EngineUnavailable(
        f"The engine did not start: {why or f'exit code {process.returncode}'}"
        f" (its log is {log_path})"
    )


def _announces(process: subprocess.Popen[bytes], timeout_s: float) -> bool | None:
    """Whether `process` wrote a line before it ended; None when it did neither in time."""
    assert process.stdout is not None
    stdout = process.stdout
    lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()

    def read() -> None:
        with stdout:
            lines.put(stdout.readline())

    # A thread, because there is no waiting for a pipe with a time limit on every system.
    threading.Thread(target=read, name="engine-announcement", daemon=True).start()
    try:
        return bool(lines.get(timeout=timeout_s))
    except queue.Empty:
        return None


def _open_log(log_path: Path) -> IO[bytes]:
    try:
        log_path.parent.mkdir(parents=True, exist_ok=True)
        if log_path.exists() and log_path.stat().st_size > _MAX_LOG_BYTES:
            log_path.replace(log_path.with_name(log_path.name + ".1"))
        descriptor = os.open(log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    except OSError as error:
        raise EngineUnavailable(
            f"The engine's log {log_path} cannot be written ({error.strerror})."
        ) from None
    log = os.fdopen(descriptor, "ab")
    log.seek(0, os.SEEK_END)
    return log


def _environment() -> dict[str, str]:
    """This process's environment, in which the child finds the same `engine` package."""
    environment = dict(os.environ)
    # The secret of an engine elsewhere is no business of this one.
    environment.pop(TOKEN_VARIABLE, None)
    root = str(Path(engine.__file__).resolve().parents[1])
    installed = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    # Not when installed: on PYTHONPATH, site-packages would come before the standard library.
    if root not in installed:
        others = environment.get("PYTHONPATH")
        environment["PYTHONPATH"] = root + (os.pathsep + others if others else "")
    return environment
