"""Join the running engine or start one, and stop it: exactly one however many callers race.

Called by the command line and the language server; imports no torch.
"""

from __future__ import annotations

import asyncio
import os
import selectors
import signal
import subprocess
import sys
import sysconfig
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from filelock import FileLock, Timeout

import engine
from engine.messages.address import EngineAddress, ensure_private_folder
from engine.messages.client import EngineClient, EngineUnavailable, NoEngineError

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 30.0
_MAX_LOG_BYTES = 2**20
_POLL_S = 0.05

# -P: otherwise an `engine` folder in the user's working directory would be run instead of ours.
_SERVE_COMMAND = (sys.executable, "-P", "-m", "engine", "engine", "serve")


def default_log_path(address: EngineAddress) -> Path:
    """The log of an engine that was started in the background. Raises EngineUnavailable."""
    return _socket_of(address).with_suffix(".log")


def ensure_engine(
    address: EngineAddress,
    *,
    arguments: Sequence[str] = (),
    log_path: Path | None = None,
    command: Sequence[str] = _SERVE_COMMAND,
    timeout_s: float = START_TIMEOUT_S,
) -> int | None:
    """Return once an engine listens on `address`; its model may still be loading.

    The result is the process id of an engine that was started here, None for one that ran already.

    arguments: flags of `nemodiff engine serve` for an engine that must be started; a running one
    is joined as it is. command: the program that serves, to which ``--socket PATH`` and
    `arguments` are added. Raises EngineUnavailable when none can be had, with the last line of
    what the started process wrote to its log.
    """
    if is_running(address):
        return None
    path = _socket_of(address)
    ensure_private_folder(path.parent)
    log_path = log_path or default_log_path(address)
    try:
        # Held until the new engine listens: every other caller finds it when its turn comes.
        with FileLock(f"{path}.start.lock", timeout=timeout_s, mode=0o600):
            if is_running(address):
                return None
            full_command = [*command, "--socket", str(path), *arguments]
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
    command: Sequence[str] = _SERVE_COMMAND,
    timeout_s: float = START_TIMEOUT_S,
) -> None:
    """`ensure_engine` without blocking the event loop."""
    await asyncio.to_thread(
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


def stop_engine(address: EngineAddress, *, timeout_s: float = STOP_TIMEOUT_S) -> bool:
    """End the engine and wait until its process is gone; False when none was running.

    Raises EngineUnavailable for an engine on another machine or one that does not end.
    """
    if not address.is_local:
        raise EngineUnavailable(f"The engine at {address} is on another machine; stop it there.")
    with EngineClient(address) as client:
        try:
            pid = int(client.health()["pid"])
        except NoEngineError:
            return False
    try:
        has_ended = _terminate(pid, timeout_s)
    except ProcessLookupError:
        return True
    except PermissionError:
        raise EngineUnavailable(
            f"The engine at {address} (process {pid}) belongs to another user."
        ) from None
    if not has_ended:
        raise EngineUnavailable(
            f"The engine (process {pid}) has not ended after {timeout_s:.0f} s; end it with "
            f"`kill -9 {pid}`."
        )
    return True


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


def _socket_of(address: EngineAddress) -> Path:
    if address.socket is None:
        raise EngineUnavailable(
            f"No engine listens on {address}, and one is started by itself only on a Unix socket; "
            "start it with `nemodiff engine serve --host HOST --port PORT`."
        )
    return address.socket


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
                start_new_session=True,
            )
        except OSError as error:
            raise EngineUnavailable(f"The engine cannot be started ({error}).") from None
    assert process.stdout is not None
    with process.stdout as announcement:
        ready = _becomes_readable(announcement.fileno(), timeout_s)
        is_listening = ready and bool(announcement.readline())
    if is_listening:
        # Somebody must collect its exit status, or it stays a zombie while this process lives.
        threading.Thread(target=process.wait, name="engine-reaper", daemon=True).start()
        return process.pid
    if not ready:
        process.kill()
    process.wait()
    # Somebody else may have started one by hand in the meantime.
    if is_running(address):
        return None
    why = (
        last_line(log_path, offset).removeprefix("nemodiff: ")
        if ready
        else f"it did not listen within {timeout_s:.0f} s"
    )
    raise EngineUnavailable(
        f"The engine did not start: {why or f'exit code {process.returncode}'}"
        f" (its log is {log_path})"
    )


def _becomes_readable(descriptor: int, timeout_s: float) -> bool:
    # Not select(), which fails on descriptors above 1023: an editor may have that many open.
    with selectors.DefaultSelector() as selector:
        selector.register(descriptor, selectors.EVENT_READ)
        return bool(selector.select(timeout_s))


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
    root = str(Path(engine.__file__).resolve().parents[1])
    installed = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    # Not when installed: on PYTHONPATH, site-packages would come before the standard library.
    if root not in installed:
        others = environment.get("PYTHONPATH")
        environment["PYTHONPATH"] = root + (os.pathsep + others if others else "")
    return environment


def _terminate(pid: int, timeout_s: float) -> bool:
    """Send SIGTERM and wait for the end. Raises ProcessLookupError, PermissionError."""
    if sys.platform == "linux":
        # Through a descriptor, the signal cannot hit a later process that got the same number.
        descriptor = os.pidfd_open(pid)
        try:
            signal.pidfd_send_signal(descriptor, signal.SIGTERM)
            return _becomes_readable(descriptor, timeout_s)
        finally:
            os.close(descriptor)
    os.kill(pid, signal.SIGTERM)
    return wait_for_end(pid, timeout_s)


def wait_for_end(pid: int, timeout_s: float) -> bool:
    """Wait until process `pid` has ended; False when it still runs. Raises PermissionError."""
    if sys.platform == "linux":
        try:
            descriptor = os.pidfd_open(pid)
        except ProcessLookupError:
            return True
        try:
            return _becomes_readable(descriptor, timeout_s)
        finally:
            os.close(descriptor)
    give_up_s = time.monotonic() + timeout_s
    while time.monotonic() < give_up_s:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(_POLL_S)
    return False
