"""StatsStore: the one file in which the counts of all windows lie, by day.

Written by `recorder.py`, read by `report.py`. Each writer adds what it has counted since it last
wrote, under a lock, so that windows do not overwrite each other and a reset stays one.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from nemodiff_lsp.stats.counts import Counts, checked, merge

logger = logging.getLogger(__name__)

STATE_DIR_VARIABLE = "NEMODIFF_STATE_DIR"
EARLIER = "earlier"
"""Under this name all days are added up that are too old to be kept apart."""

_FORMAT = 1
_FILE = "statistics.json"
_MAX_FILE_BYTES = 64 * 1024 * 1024
_MAX_DAYS = 90


class StatsBusy(Exception):
    """Another process holds the file for longer than is worth to wait."""


def state_folder() -> Path:
    """Where the statistics lie: NEMODIFF_STATE_DIR, or the user's folder for such things."""
    override = os.environ.get(STATE_DIR_VARIABLE)
    if override:
        return Path(override).absolute()
    import platformdirs

    return platformdirs.user_state_path("nemodiff", appauthor=False)


class StatsStore:
    """folder: made when the first counts are added, for the user alone."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path = folder / _FILE

    def add(self, days: Mapping[str, Counts], *, patience_s: float = 1.0) -> None:
        """Add the counts of some days. Raises OSError, or StatsBusy when the file stays locked."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self._locked(patience_s):
            kept = self._read()
            merge(kept, days)
            self._write(_with_old_days_joined(kept))

    def days(self) -> dict[str, Counts]:
        """The counts by day (``2026-11-21``, or EARLIER), in order. Raises OSError."""
        found = self._read()
        return {day: found[day] for day in sorted(found, key=lambda day: (day != EARLIER, day))}

    def reset(self) -> bool:
        """Forget all; returns whether there was anything. Raises OSError or StatsBusy."""
        if not self._path.exists():
            return False
        with self._locked(5.0):
            self._path.unlink(missing_ok=True)
        return True

    @contextlib.contextmanager
    def _locked(self, patience_s: float) -> Iterator[None]:
        # Imported here because the language server starts without it.
        from filelock import FileLock, Timeout

        try:
            with FileLock(self._folder / f"{_FILE}.lock", timeout=patience_s, mode=0o600):
                yield
        except Timeout:
            raise StatsBusy("Another process writes the statistics; try again.") from None

    def _read(self) -> Counts:
        try:
            with self._path.open("rb") as file:
                content = file.read(_MAX_FILE_BYTES + 1)
        except FileNotFoundError:
            return {}
        try:
            if len(content) > _MAX_FILE_BYTES:
                raise ValueError("too long")
            held = json.loads(content)
            if not isinstance(held, dict) or held.get("format") != _FORMAT:
                raise ValueError("another format")
            days = checked(held.get("days"))
            if not all(isinstance(day, dict) for day in days.values()):
                raise ValueError("no days")
            return days
        except (ValueError, RecursionError):
            # Kept for whoever wants to look; counting goes on.
            logger.warning("The file with the statistics was not readable and is set aside.")
            os.replace(self._path, self._path.with_suffix(".unreadable.json"))
            return {}

    def _write(self, days: Counts) -> None:
        descriptor, name = tempfile.mkstemp(dir=self._folder, prefix=".statistics-")
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                json.dump({"format": _FORMAT, "days": days}, file, separators=(",", ":"))
            os.replace(name, self._path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(name)
            raise


def _with_old_days_joined(days: Counts) -> Counts:
    known = sorted(day for day in days if day != EARLIER)
    old = known[:-_MAX_DAYS]
    earlier: dict[str, Any] = days.get(EARLIER, {})
    for day in old:
        merge(earlier, days.pop(day))
    return {**days, EARLIER: earlier} if earlier else days
