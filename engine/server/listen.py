"""Sockets to listen on: a private Unix socket that only one engine can own, or a TCP port.

Called by `serve.py` before anything else is started, so that a clash is told in one sentence.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import BaseFileLock, FileLock, Timeout

from engine.errors import EngineError
from engine.messages.address import EngineAddress, ensure_private_folder

# An engine that is just stopping no longer listens but still holds its lock.
_PREDECESSOR_TIMEOUT_S = 15.0
_LOOK_AGAIN_S = 0.2
_BACKLOG = 128


@contextmanager
def unix_listener(path: Path) -> Iterator[socket.socket]:
    """A bound Unix socket at `path`, mode 0600, removed on exit.

    The lock file next to it is held all the time, so a socket file found under the lock is the
    leftover of a process that died. Raises EngineError when an engine already listens there.
    """
    address = EngineAddress(socket=path)
    ensure_private_folder(path.parent)
    lock = _own(address, path)
    try:
        if _is_alive(path):
            raise _already(address)
        _remove_stale(path)
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
            _bind_private(listener, path)
            try:
                yield listener
            finally:
                path.unlink(missing_ok=True)
    finally:
        lock.release()


@contextmanager
def tcp_listener(host: str, port: int) -> Iterator[socket.socket]:
    """A bound TCP socket; port 0 takes a free one. Raises EngineError."""
    try:
        family, kind, protocol, _, target = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except OSError as error:
        raise EngineError(f"--host {host!r} is no address of this machine ({error}).") from None
    with socket.socket(family, kind, protocol) as listener:
        if os.name == "posix":
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(target)
            listener.listen(_BACKLOG)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise EngineError(
                    f"Port {port} of {host} is in use by another program; choose another --port."
                ) from None
            raise EngineError(f"Cannot listen on {host}:{port} ({error.strerror}).") from None
        yield listener


def tcp_url(listener: socket.socket) -> str:
    """The URL under which a bound TCP socket is reached."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _own(address: EngineAddress, path: Path) -> BaseFileLock:
    """The lock of `path`, held. Looks for a living engine while it waits for a dying one."""
    lock = FileLock(f"{path}.lock", mode=0o600)
    give_up_s = time.monotonic() + _PREDECESSOR_TIMEOUT_S
    while not _is_alive(path):
        try:
            lock.acquire(timeout=_LOOK_AGAIN_S)
            return lock
        except Timeout:
            if time.monotonic() > give_up_s:
                break
        except OSError as error:
            raise EngineError(f"The lock {path}.lock cannot be taken ({error.strerror}).") from None
    raise _already(address)


def _bind_private(listener: socket.socket, path: Path) -> None:
    # The umask makes the file 0600 from its first moment; a chmod afterwards would leave a gap.
    previous = os.umask(0o177)
    try:
        listener.bind(str(path))
    except OSError as error:
        raise EngineError(f"Cannot listen on unix:{path} ({error.strerror}).") from None
    finally:
        os.umask(previous)
    listener.listen(_BACKLOG)


def _is_alive(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(5.0)
        try:
            probe.connect(str(path))
        except TimeoutError:
            return True
        except OSError:
            return False
    return True


def _remove_stale(path: Path) -> None:
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise EngineError(f"{path} exists and is not a socket; remove it or choose another path.")
    path.unlink()


def _already(address: EngineAddress) -> EngineError:
    return EngineError(
        f"An engine already listens on {address}; use it, or stop it with `nemodiff engine stop`."
    )
