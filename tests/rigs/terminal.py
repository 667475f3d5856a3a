"""A program in a terminal of its own, whose screen a test reads cell by cell.

Used by screens.py for editors that draw in a terminal. pyte keeps the cells; what it cannot read of
a modern terminal's language is taken out first, none of which draws anything.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import select
import signal
import struct
import termios
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import TypeVar

import pyte
from pyte.screens import Char

# A guard against a hang, never a synchronisation: the real model may have to be loaded first.
GUARD_S = float(os.environ.get("NEMODIFF_TEST_GUARD_S", "240"))
_POLL_S = 0.05

_STRINGS = rb"\x1b[P\]_^X][^\x1b\x07]*(?:\x1b\\|\x07)"
_PRIVATE = rb"\x1b\[(?:[<>=][0-9;:]*[@-~]|\?[0-9;]*[nuS])"
_INTERMEDIATE = rb"\x1b\[[0-9;?]*[ -/]+[@-~]"
_UNREADABLE = re.compile(b"|".join((_STRINGS, _PRIVATE, _INTERMEDIATE)))
_UNFINISHED = re.compile(rb"\x1b(?:[P\]_^X][^\x1b\x07]*\x1b?|\[[0-9;:<=>? -/]*)?\Z")
_COLOURS = re.compile(rb"\x1b\[([0-9;:]*)m")

T = TypeVar("T")


def readable(written: bytes) -> tuple[bytes, bytes]:
    """What pyte can read of `written`, and the unfinished command at its end."""
    unfinished = _UNFINISHED.search(written)
    at = unfinished.start() if unfinished else len(written)
    whole = _UNREADABLE.sub(b"", written[:at])
    return _COLOURS.sub(_plain_colours, whole), written[at:]


def _plain_colours(found: re.Match[bytes]) -> bytes:
    """Colours by semicolons; without the kind and the colour of a line below the text."""
    words = re.sub(rb"(?:58[:;](?:5[:;]\d+|2[:;]+\d+[:;]\d+[:;]\d+))", b"", found[1])
    words = re.sub(rb"\b4:0\b", b"24", words)
    words = re.sub(rb"\b4:\d\b", b"4", words)
    words = re.sub(rb"([34]8):2:\d*:", rb"\1;2;", words).replace(b":", b";")
    parts = [part for part in words.split(b";") if part] or ([] if found[1] else [b"0"])
    return b"\x1b[" + b";".join(parts) + b"m" if parts else b""


class _Screen(pyte.Screen):
    """Answers what a program asks of its terminal."""

    descriptor = -1

    def write_process_input(self, data: str) -> None:
        os.write(self.descriptor, data.encode())


class Terminal:
    """One running program; `with` ends it."""

    def __init__(
        self,
        command: list[str],
        environment: Mapping[str, str],
        folder: Path,
        *,
        columns: int = 104,
        rows: int = 40,
    ) -> None:
        self.screen = _Screen(columns, rows)
        self._stream = pyte.ByteStream(self.screen)
        self._unread = b""
        self._pid, self._descriptor = pty.fork()
        if self._pid == 0:
            try:
                os.chdir(folder)
                os.execve(command[0], command, dict(environment))
            finally:
                os._exit(127)
        fcntl.ioctl(self._descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.screen.descriptor = self._descriptor

    def __enter__(self) -> Terminal:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)
        os.close(self._descriptor)

    def press(self, keys: str) -> None:
        """Send keys as a terminal would: ``\\r`` for Return, ``\\x1b`` for Escape."""
        os.write(self._descriptor, keys.encode())

    def read(self, wait_s: float = _POLL_S) -> bool:
        """Take up what the program has written; False if it is silent for `wait_s`."""
        if not select.select([self._descriptor], [], [], wait_s)[0]:
            return False
        try:
            written = os.read(self._descriptor, 65536)
        except OSError:
            raise AssertionError(f"The program has ended:\n{self.text()}") from None
        drawn, self._unread = readable(self._unread + written)
        self._stream.feed(drawn)
        return True

    def settle(self, silent_s: float = 0.4) -> None:
        """Read until the program draws nothing more."""
        while self.read(silent_s):
            pass

    def wait_for(self, found: Callable[[], T], limit_s: float = GUARD_S) -> T:
        """`found()` as soon as it is true of something. Raises AssertionError."""
        if not self.is_so(lambda: bool(found()), limit_s):
            raise AssertionError(f"waited in vain:\n{self.text()}")
        return found()

    def is_so(self, found: Callable[[], bool], limit_s: float) -> bool:
        """Whether `found()` becomes true before the limit."""
        deadline_s = time.monotonic() + limit_s
        while not found():
            if time.monotonic() >= deadline_s:
                return False
            self.read()
        return True

    def text(self) -> str:
        """The screen as it is, without colours."""
        return "\n".join(line.rstrip() for line in self.screen.display)

    def cells(self, row: int) -> list[Char]:
        """The cells of a row, with their colours."""
        line = self.screen.buffer[row]
        return [line[column] for column in range(self.screen.columns)]

    def cursor(self) -> tuple[int, int]:
        """Row and column, from 0."""
        return self.screen.cursor.y, self.screen.cursor.x
