"""The process that listens on an engine's address, as the system tells it: for one that hangs.

Used by `retire.py`, when the engine itself does not answer. No torch, no HTTP.
"""

from __future__ import annotations

import socket
import struct
import sys
from collections.abc import Sequence
from pathlib import Path

from engine.messages.address import EngineAddress
from engine.messages.endpoint import read_endpoint

_CONNECT_S = 2.0
# macOS' LOCAL_PEERPID, of its level SOL_LOCAL, for which Python has no names.
_SOL_LOCAL, _LOCAL_PEERPID = 0, 2


def engine_process(address: EngineAddress) -> int | None:
    """The process id of the engine at `address`, answering or not.

    None where nothing listens, the system does not tell, or it is no engine of this user.
    """
    pid = _listening(address)
    return pid if pid is not None and _is_our_engine(pid, address) else None


def _listening(address: EngineAddress) -> int | None:
    if address.endpoint_file is not None:
        endpoint = read_endpoint(address.endpoint_file)
        return None if endpoint is None else endpoint.pid
    if address.socket is None or sys.platform == "win32":
        return None
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(_CONNECT_S)
        try:
            connection.connect(str(address.socket))
            return _peer(connection)
        except OSError:
            return None


def _peer(connection: socket.socket) -> int | None:
    """Who listens at the other end of a Unix socket. Raises OSError."""
    if sys.platform == "linux":
        form = struct.Struct("3i")
        found = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, form.size)
        pid, _, _ = form.unpack(found)
        return int(pid) or None
    if sys.platform == "darwin":
        return connection.getsockopt(_SOL_LOCAL, _LOCAL_PEERPID) or None
    return None


def _is_our_engine(pid: int, address: EngineAddress) -> bool:
    import psutil

    try:
        process = psutil.Process(pid)
        is_ours = process.username() == psutil.Process().username()
        return is_ours and is_engine_command(process.cmdline(), address)
    except psutil.Error:
        return False


def is_engine_command(command: Sequence[str], address: EngineAddress) -> bool:
    """Whether `command` is ``nemodiff engine serve``, started in whichever way."""
    for at in range(1, len(command) - 1):
        if tuple(command[at : at + 2]) == ("engine", "serve"):
            is_ours = Path(command[at - 1]).stem == "nemodiff"
            is_module = tuple(command[at - 2 : at]) == ("-m", "engine")
            return is_ours or is_module or str(address.path) in command
    return False
