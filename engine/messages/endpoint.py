"""Endpoint: where an engine without a Unix socket listens, in a file that only its user can read.

Written by the engine (`engine/server/listen.py`), read by its clients for every request, because
port and token change with each engine. Imports neither torch nor HTTP.
"""

from __future__ import annotations

import contextlib
import json
import os
import stat
import sys
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from filelock import FileLock, Timeout

_MAX_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A loopback URL, the token that it asks for, and the engine's process id."""

    url: str
    token: str = field(repr=False)
    pid: int


def write_endpoint(path: Path, endpoint: Endpoint) -> None:
    """Put `endpoint` at `path`, mode 0600 from the first moment, whole or not at all.

    Raises OSError.
    """
    body = {"url": endpoint.url, "token": endpoint.token, "pid": endpoint.pid}
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    with contextlib.suppress(FileNotFoundError):
        part.unlink()
    try:
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            json.dump(body, file)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def read_endpoint(path: Path) -> Endpoint | None:
    """The endpoint of a living engine; None when there is none, or the file is not to be trusted.

    After a crash the file stays and another program may own the port. A living engine holds its
    lock, so a free lock tells that the file is a leftover and must get no request and no token.
    """
    endpoint = _parsed(path)
    return None if endpoint is None or is_lock_free(path) else endpoint


def is_lock_free(path: Path) -> bool:
    """Whether no engine holds the lock that belongs to the socket or endpoint file `path`."""
    try:
        with FileLock(f"{path}.lock", mode=0o600, timeout=0):
            return True
    except Timeout:
        return False
    except OSError:
        return True


def _parsed(path: Path) -> Endpoint | None:
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0))
        with os.fdopen(descriptor, "rb") as file:
            if not _is_private(os.fstat(file.fileno())):
                return None
            body = json.loads(file.read(_MAX_BYTES))
        endpoint = Endpoint(str(body["url"]), str(body["token"]), int(body["pid"]))
        # This is for the engine of the user's own machine only, whatever the file may say.
        is_loopback = urlsplit(endpoint.url).hostname in ("127.0.0.1", "::1")
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return endpoint if is_loopback and endpoint.token.isascii() else None


def _is_private(found: os.stat_result) -> bool:
    if sys.platform == "win32":
        return True
    is_own = found.st_uid == os.getuid() and not found.st_mode & 0o077
    return is_own and stat.S_ISREG(found.st_mode)
