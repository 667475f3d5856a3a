"""Busy processes beside a measurement, as an editor's build or tests are beside an engine."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType

from engine.errors import EngineError

_PROGRAM = Path(__file__).with_name("busy_process.py")
# Of a change: the system spreads processes over its cores anew.
_SETTLE_S = 0.05
_END_S = 5.0


def default_counts() -> tuple[int, ...]:
    """None, one for every other core, and one for each."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return tuple(sorted({0, max(1, (cores or 1) // 2), cores or 1}))


class Neighbours:
    """At most `most` busy processes, none at first; a context, with which they end.

    Raises EngineError when one does not start or has ended before its time.
    """

    def __init__(self, most: int) -> None:
        self._processes: list[subprocess.Popen[str]] = []
        self._num_busy = 0
        try:
            for _ in range(most):
                self._processes.append(_started())
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Neighbours:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def pids(self) -> list[int]:
        return [process.pid for process in self._processes]

    @property
    def num_busy(self) -> int:
        return self._num_busy

    def keep_busy(self, num: int) -> None:
        """From the return on exactly the first `num` processes are busy."""
        if num == self._num_busy:
            return
        for at, process in enumerate(self._processes):
            if (at < num) != (at < self._num_busy):
                _tell(process, "busy" if at < num else "idle")
        self._num_busy = num
        time.sleep(_SETTLE_S)

    def close(self) -> None:
        """All have ended when this returns."""
        for process in self._processes:
            if process.stdin is not None:
                with contextlib.suppress(OSError):
                    process.stdin.close()
        for process in self._processes:
            try:
                process.wait(timeout=_END_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            if process.stdout is not None:
                process.stdout.close()


def _started() -> subprocess.Popen[str]:
    command = [sys.executable, "-I", str(_PROGRAM)]
    try:
        return subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )
    except OSError as error:
        raise EngineError(f"A busy process cannot be started ({error.strerror}).") from None


def _tell(process: subprocess.Popen[str], word: str) -> None:
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(word + "\n")
        answer = process.stdout.readline().strip()
    except OSError:
        answer = ""
    if answer != word:
        raise EngineError("A busy process ended before its time; start the measurement again.")
