"""Samples for calibrating the gate: ungated answers on both suites, with what the gate looks at.

Called by `gate_report.py`; read from the files of rows that `nemodiff eval fresh` and
`nemodiff eval silent` leave behind.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.errors import EngineError
from engine.evaluation.metrics import is_silent
from engine.evaluation.records import RowResult, RunLog, RunSettings

DEFAULT_CONFIGURATION = "auto"


class CalibrationError(EngineError):
    """Rows from which no gate can be calibrated; one sentence."""


@dataclass(frozen=True, slots=True)
class Samples:
    """One entry per row in each array.

    is_silent_row: bool, nothing belongs there. is_blank: bool, nothing was offered anyway.
    is_correct: bool, the right text but for white space at the end. values: float64
    (num_rows, num_names), the gate's features, NaN where a blank answer has none.
    """

    names: tuple[str, ...]
    values: NDArray[np.float64]
    is_silent_row: NDArray[np.bool_]
    is_blank: NDArray[np.bool_]
    is_correct: NDArray[np.bool_]
    clusters: tuple[str, ...]
    kinds: tuple[str, ...]

    def take(self, chosen: NDArray[np.bool_]) -> Samples:
        """Those rows whose entry in `chosen` (bool) is set."""
        places = np.flatnonzero(chosen)
        return Samples(
            self.names,
            self.values[places],
            self.is_silent_row[places],
            self.is_blank[places],
            self.is_correct[places],
            tuple(self.clusters[place] for place in places),
            tuple(self.kinds[place] for place in places),
        )

    def columns(self, names: Sequence[str]) -> NDArray[np.float64]:
        """(num_rows, len(names))."""
        return self.values[:, [self.names.index(name) for name in names]]


@dataclass(frozen=True, slots=True)
class Recorded:
    """The rows of one suite by one configuration, and how they were made."""

    settings: RunSettings
    engine: dict[str, Any]
    rows: tuple[RowResult, ...]


def read_recorded(path: Path, suite: str, configuration: str) -> Recorded:
    """The answers of `configuration` in a file of rows. Raises CalibrationError or RecordsError."""
    log = RunLog.read(path)
    if log.settings is None or not log.rows:
        raise CalibrationError(f"{path} holds no rows.")
    if log.settings.suite != suite:
        raise CalibrationError(
            f"{path} holds rows of `nemodiff eval {log.settings.suite}`, not of `{suite}`."
        )
    if log.settings.gate:
        raise CalibrationError(
            f"{path} was recorded with the gate on, which hides what it withheld; record it again "
            "with --no-gate."
        )
    rows = tuple(row for (label, _), row in log.rows.items() if label == configuration)
    if not rows:
        labels = ", ".join(sorted({label for label, _ in log.rows}))
        raise CalibrationError(
            f"{path} holds no rows of the configuration {configuration}, only of: {labels}."
        )
    return Recorded(log.settings, log.engines["engine"], rows)


def make_samples(fresh: Recorded, silent: Recorded) -> Samples:
    """Both suites together, the fresh rows first. Raises CalibrationError."""
    if fresh.engine != silent.engine:
        raise CalibrationError(
            "The two files of rows were made by different engines; record both with the same one."
        )
    rows = (*fresh.rows, *silent.rows)
    is_blank = np.array([is_silent(row.text) for row in rows])
    names = _names([row for row, blank in zip(rows, is_blank, strict=True) if not blank])
    is_silent_row = np.arange(len(rows)) >= len(fresh.rows)
    is_right = np.array([row.text.rstrip() == row.gold.rstrip() for row in rows])
    is_correct = is_right & ~is_silent_row & ~is_blank
    if not is_correct.any():
        raise CalibrationError(
            "No completion of the fresh rows is correct, so that none could be lost."
        )
    if not (is_silent_row & ~is_blank).any():
        raise CalibrationError("Nothing was offered on any silent row; there is nothing to gate.")
    return Samples(
        names,
        np.array([[row.gate_features.get(name, np.nan) for name in names] for row in rows]),
        is_silent_row,
        is_blank,
        is_correct,
        tuple(row.cluster for row in rows),
        tuple(row.kind for row in rows),
    )


def _names(rows: Sequence[RowResult]) -> tuple[str, ...]:
    """The features that are known of every answer and not the same for all."""
    shared = set.intersection(*(set(row.gate_features) for row in rows)) if rows else set()
    varied = [name for name in shared if len({row.gate_features[name] for row in rows}) > 1]
    if not varied:
        raise CalibrationError(
            "The rows hold no features of the gate; record them with an engine of this version."
        )
    return tuple(sorted(varied))
