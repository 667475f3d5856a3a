"""Report: how long-running work on weights tells its caller where it stands; and file hashing.

The command line draws reports as a bar on stderr; tests collect them; `silent` drops them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

Report = Callable[[str, float | None], None]
"""Called with the phase in words and the finished fraction of it (0..1, None when unknown)."""

CHUNK_BYTES = 4 * 2**20


def silent(phase: str, fraction: float | None) -> None:
    """A Report that goes nowhere."""


def hash_file(path: Path, report: Report = silent, phase: str = "Checking") -> str:
    """sha256 of the file at `path` as 64 hex digits. Raises OSError."""
    digest = hashlib.sha256()
    num_bytes = max(1, path.stat().st_size)
    done = 0
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
            done += len(chunk)
            report(phase, done / num_bytes)
    return digest.hexdigest()
