"""Processes by number: ask one to end and wait for it, not fooled by a number used again.

Used by `launch.py` and `readiness.py` to look after an engine that another program started.
"""

from __future__ import annotations

import os
import selectors
import signal
import sys
import time

_POLL_S = 0.05


def terminate(pid: int, timeout_s: float) -> bool:
    """Ask process `pid` to end and wait for it; False when it still runs.

    Raises ProcessLookupError, PermissionError.
    """
    return _signal(pid, signal.SIGTERM, timeout_s)


def kill(pid: int, timeout_s: float) -> bool:
    """End process `pid` without asking; otherwise as `terminate`."""
    # On Windows, SIGTERM does not ask either, and there is no other.
    return _signal(pid, getattr(signal, "SIGKILL", signal.SIGTERM), timeout_s)


def _signal(pid: int, number: signal.Signals, timeout_s: float) -> bool:
    if sys.platform == "linux":
        # Through a descriptor, the signal cannot hit a later process that got the same number.
        descriptor = os.pidfd_open(pid)
        try:
            signal.pidfd_send_signal(descriptor, number)
            return _becomes_readable(descriptor, timeout_s)
        finally:
            os.close(descriptor)
    os.kill(pid, number)
    return wait_for_end(pid, timeout_s)


def wait_for_end(pid: int, timeout_s: float) -> bool:
    """Wait until process `pid` has ended; False when it still runs. Raises PermissionError."""
    if sys.platform == "win32":
        return _wait_on_windows(pid, timeout_s)
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


def _becomes_readable(descriptor: int, timeout_s: float) -> bool:
    # Not select(), which fails on descriptors above 1023: an editor may have that many open.
    with selectors.DefaultSelector() as selector:
        selector.register(descriptor, selectors.EVENT_READ)
        return bool(selector.select(timeout_s))


def _wait_on_windows(pid: int, timeout_s: float) -> bool:
    # There, os.kill(pid, 0) would send Ctrl-C instead of asking whether the process lives.
    if sys.platform != "win32":
        raise NotImplementedError
    import ctypes

    synchronize, timed_out = 0x00100000, 0x102
    kernel = ctypes.windll.kernel32
    handle = kernel.OpenProcess(synchronize, False, pid)
    if not handle:
        return True
    try:
        has_timed_out: bool = kernel.WaitForSingleObject(handle, int(timeout_s * 1e3)) == timed_out
        return not has_timed_out
    finally:
        kernel.CloseHandle(handle)
