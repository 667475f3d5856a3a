"""Watched: what a verdict was built on, so that it can be kept until any of that changes.

Filled by `ignore.py` and `repository.py`, asked by `policy.py`: one stat for each file.
"""

from __future__ import annotations

import math
import os
import stat
import time
from dataclasses import dataclass, field

Stamp = tuple[int, ...] | None
"""What tells one state of a file from another; None while there is no such file."""


def file_stamp(path: str) -> Stamp:
    """The stamp of a file's content, its rights included. Links are followed."""
    try:
        found = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return (-1,) if os.path.islink(path) else None
    except OSError as error:
        return (error.errno or 0,)
    return (found.st_mtime_ns, found.st_size, found.st_ino, found.st_ctime_ns, found.st_mode)


def entry_stamp(path: str) -> Stamp:
    """The stamp of what lies there, its content aside: a folder changes all the time."""
    try:
        found = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        return (error.errno or 0,)
    return (found.st_ino, stat.S_IFMT(found.st_mode))


@dataclass(slots=True)
class Watched:
    """Paths with the stamps they had when they were looked at.

    retry_at_s: time.monotonic() from when on it must be looked at again in any case.
    """

    files: dict[str, Stamp] = field(default_factory=dict)
    entries: dict[str, Stamp] = field(default_factory=dict)
    retry_at_s: float = math.inf

    def file(self, path: str) -> Stamp:
        """Take note of the content of `path`; its stamp now."""
        stamp = self.files[path] = file_stamp(path)
        return stamp

    def entry(self, path: str) -> Stamp:
        """Take note of what lies at `path`; its stamp now."""
        stamp = self.entries[path] = entry_stamp(path)
        return stamp

    def is_unchanged(self) -> bool:
        """Whether all is as it was."""
        if time.monotonic() >= self.retry_at_s:
            return False
        return all(file_stamp(path) == stamp for path, stamp in self.files.items()) and all(
            entry_stamp(path) == stamp for path, stamp in self.entries.items()
        )
