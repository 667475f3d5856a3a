"""read_regular_file(): a small file's bytes, and never a wait on a pipe or an endless device.

Used for every file that an opened folder may have put there: ignore files, settings, git's own.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path


class UnreadableFile(Exception):
    """A file that is there and cannot be used; the message says why, without its name."""


def read_regular_file(path: str | Path, *, max_bytes: int) -> bytes | None:
    """The content, or None when there is no such file. Raises UnreadableFile."""
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    try:
        descriptor = os.open(path, flags)
    except (FileNotFoundError, NotADirectoryError):
        # A link that leads nowhere is there all the same.
        if os.path.islink(path):
            raise UnreadableFile("it is a link that leads nowhere") from None
        return None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else None
        raise UnreadableFile(reason or type(error).__name__) from None
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise UnreadableFile("it is not a regular file")
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            content = file.read(max_bytes + 1)
    except OSError as error:
        raise UnreadableFile(error.strerror or type(error).__name__) from None
    finally:
        os.close(descriptor)
    if len(content) > max_bytes:
        raise UnreadableFile("it is too long")
    return content
