"""Sockets to listen on: one that only this user reaches and one engine can own, or a TCP port.

Called by `serve.py` before anything else is started, so that a clash is told in one sentence.
"""

from __future__ import annotations

import errno
import os
import secrets
import socket
import stat
import struct
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import BaseFileLock, FileLock, Timeout

from engine.errors import EngineError
from engine.messages.address import EngineAddress, ensure_private_folder
from engine.messages.endpoint import Endpoint, write_endpoint

# An engine that is just stopping no longer listens but still holds its lock.
_PREDECESSOR_TIMEOUT_S = 15.0
_LOOK_AGAIN_S = 0.2
_BACKLOG = 128
_TOKEN_BYTES = 32


@contextmanager
def unix_listener(path: Path) -> Iterator[socket.socket]:
    """A bound Unix socket at `path`, mode 0600, for this user's processes only; removed on exit.

    The lock file next to it is held all the time, so a socket file found under the lock is the
    leftover of a process that died. Raises EngineError when an engine already listens there.
    """
    with _owned(EngineAddress(socket=path)):
        _remove_stale(path)
        with _PrivateSocket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
            _bind_private(listener, path)
            try:
                yield listener
            finally:
                path.unlink(missing_ok=True)


@contextmanager
def endpoint_listener(path: Path) -> Iterator[tuple[socket.socket, Endpoint]]:
    """A free loopback port, told with a new token in the file `path` (0600), removed on exit.

    For systems without Unix sockets; owned by a lock like one. Raises EngineError.
    """
    address = EngineAddress(endpoint_file=path)
    with _owned(address), tcp_listener("127.0.0.1", 0) as listener:
        endpoint = Endpoint(tcp_url(listener), secrets.token_urlsafe(_TOKEN_BYTES), os.getpid())
        try:
            write_endpoint(path, endpoint)
        except OSError as error:
            raise EngineError(f"{path} cannot be written ({error.strerror}).") from None
        try:
            yield listener, endpoint
        finally:
            path.unlink(missing_ok=True)


class _PrivateSocket(socket.socket):
    """A Unix socket that drops connections of other users, whatever the file's mode has become."""

    def accept(self) -> tuple[socket.socket, Any]:
        connection, peer = super().accept()
        if _is_foreign(connection):
            connection.close()
            # The event loop takes this for a caller who left, and goes on.
            raise ConnectionAbortedError("a connection of another user")
        return connection, peer


def _is_foreign(connection: socket.socket) -> bool:
    """Whether another user is at the other end; where the system does not tell, modes must do."""
    if sys.platform != "linux":
        return False
    form = struct.Struct("3i")
    _, uid, _ = form.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, form.size))
    # Root may read our memory anyway, and runs `nemodiff engine status` for others.
    return uid not in (os.getuid(), 0)


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


def tcp_url(listener: socket.socket, *, is_tls: bool = False) -> str:
    """The URL under which a bound TCP socket is reached."""
    host, port = listener.getsockname()[:2]
    scheme = "https" if is_tls else "http"
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


@contextmanager
def _owned(address: EngineAddress) -> Iterator[None]:
    """Hold the lock of `address`. Raises EngineError when an engine listens there."""
    assert address.path is not None
    ensure_private_folder(address.path.parent)
    lock = _own(address, address.path)
    try:
        if _is_alive(address):
            raise _already(address)
        yield
    finally:
        lock.release()


def _own(address: EngineAddress, path: Path) -> BaseFileLock:
    """The lock of `path`, held. Looks for a living engine while it waits for a dying one."""
    lock = FileLock(f"{path}.lock", mode=0o600)
    give_up_s = time.monotonic() + _PREDECESSOR_TIMEOUT_S
    while not _is_alive(address):
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


def _is_alive(address: EngineAddress) -> bool:
    if address.socket is None:
        # Its port may be another program's by now; the lock, which we try next, is what counts.
        return False
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(5.0)
        try:
            probe.connect(str(address.socket))
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
