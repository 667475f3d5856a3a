"""A source file and a cursor in it, read exactly as it is. Used by `complete.py`.

No character is changed on the way in but a byte order mark, which is left out.
"""

from __future__ import annotations

import errno
import os
import re
import stat
import sys
from dataclasses import dataclass
from typing import BinaryIO

from engine.errors import EngineError

MAX_TEXT_BYTES = 4 * 2**20
STDIN = "-"
# Descriptors that this process was given: reading them is what was asked for, whatever they are.
_OWN_STDIN, _OWN_DESCRIPTORS = "/dev/stdin", "/dev/fd/"

_LINE_END = re.compile(r"\r\n|\r|\n")


@dataclass(frozen=True, slots=True)
class SourceHole:
    """The text of a file around a cursor. newline: the line end in use there; line: 1-based."""

    name: str
    before: str
    after: str
    newline: str
    line: int


def read_source(name: str) -> str:
    """The text of file `name` (``-``: standard input), line ends and all.

    Raises EngineError when it is missing, unreadable, not a regular file, too large or not UTF-8
    text.
    """
    shown = shown_name(name)
    if name in (STDIN, _OWN_STDIN) and sys.stdin is None:
        raise EngineError("Standard input is closed; name a file, or pipe the text in.")
    try:
        if name == STDIN:
            data = _read(sys.stdin.buffer)
        else:
            _check_regular(name, shown)
            with open(name, "rb") as file:
                data = _read(file)
    except FileNotFoundError:
        raise EngineError(f"{shown} does not exist.") from None
    except IsADirectoryError:
        raise EngineError(f"{shown} is a folder; name a file.") from None
    except OSError as error:
        reason = error.strerror or os.strerror(error.errno or errno.EIO)
        raise EngineError(f"{shown} cannot be read ({reason}).") from None
    except ValueError:
        raise EngineError(f"{name!r} cannot be read (a name cannot hold a NUL).") from None
    if len(data) > MAX_TEXT_BYTES:
        limit = MAX_TEXT_BYTES // 2**20
        raise EngineError(f"{shown} holds more than {limit} MiB, the most that is accepted.")
    return _decoded(data, shown).removeprefix("\ufeff")


def shown_name(name: str) -> str:
    """What messages call the file `name`."""
    return "Standard input" if name == STDIN else (name or "The file ''")


def find_hole(text: str, line: int, column: int, name: str) -> SourceHole:
    """The hole at `line` (1-based) and `column` (0-based, in characters) of `text`.

    Lines end with ``\\n``, ``\\r\\n`` or ``\\r``; the end of the text is a place, too. Raises
    EngineError that tells the valid range.
    """
    shown = shown_name(name)
    starts, ends = _lines(text)
    if not 1 <= line <= len(starts):
        valid = "only line 1" if len(starts) == 1 else f"lines 1 to {len(starts)}"
        raise EngineError(f"Line {line} does not exist: {shown} has {valid}.")
    length = ends[line - 1] - starts[line - 1]
    if not 0 <= column <= length:
        valid = "only column 0" if length == 0 else f"columns 0 to {length}"
        raise EngineError(f"Column {column} does not exist: line {line} of {shown} has {valid}.")
    offset = starts[line - 1] + column
    return SourceHole(shown, text[:offset], text[offset:], _newline_near(text, offset), line)


def with_newline(text: str, newline: str) -> str:
    """`text` with every line end turned into `newline`."""
    return _LINE_END.sub(newline, text)


def _check_regular(name: str, shown: str) -> None:
    """Refuse what opening or reading might wait on for ever: pipes, devices, sockets."""
    if name == _OWN_STDIN or name.startswith(_OWN_DESCRIPTORS):
        return
    mode = os.stat(name).st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise EngineError(f"{shown} is not a regular file; copy its text into one, or pipe it in.")


def _read(file: BinaryIO) -> bytes:
    # One byte more than allowed tells a file that is too large, and ends an endless one.
    return file.read(MAX_TEXT_BYTES + 1)


def _decoded(data: bytes, shown: str) -> str:
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise EngineError(f"{shown} is UTF-16 by its first two bytes; convert it to UTF-8 first.")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise EngineError(
            f"{shown} is not UTF-8 text: byte {error.start} (0x{data[error.start]:02x}) cannot be "
            "decoded; convert it to UTF-8 first."
        ) from None
    nul = data.find(b"\0")
    if nul >= 0:
        raise EngineError(f"{shown} is not source text: byte {nul} is NUL, as in binary files.")
    return text


def _lines(text: str) -> tuple[list[int], list[int]]:
    """Where each line starts, and where its content ends."""
    starts, ends = [0], []
    for match in _LINE_END.finditer(text):
        ends.append(match.start())
        starts.append(match.end())
    return starts, [*ends, len(text)]


def _newline_near(text: str, offset: int) -> str:
    """The line end before `offset`, else the first one after it, else ``\\n``."""
    before = max(text.rfind("\n", 0, offset), text.rfind("\r", 0, offset))
    if before < 0:
        match = _LINE_END.search(text, offset)
        return match.group() if match else "\n"
    if text[before] == "\r":
        return "\r"
    return "\r\n" if before > 0 and text[before - 1] == "\r" else "\n"
