"""The curve of a training run as a table and as a picture.

Written at every checkpoint from ``curve.jsonl``, so that a run can be watched while it goes on.
The picture needs matplotlib (extra ``eval``), which is imported when used.
"""

from __future__ import annotations

import csv
import functools
import importlib.util
import json
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes

logger = logging.getLogger(__name__)

SOURCE_FILE, TABLE_FILE, PICTURE_FILE = "curve.jsonl", "curve.csv", "curve.png"

_TOKENS = "num_tokens"
# One panel each, where any of its columns is there: title, columns.
_PANELS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("loss", ("loss", "ar_loss", "mask_loss", "held_out_loss")),
    ("accuracy", ("mask_accuracy", "token_accuracy", "end_recall")),
    ("acceptance, tokens", ("tokens_per_cycle", "accepted_drafts")),
)
_PANEL_INCHES = (5.0, 4.0)
_DPI = 120
# Columns of every step are noisy: the line drawn is a running mean over this share of the steps.
_SMOOTHING_SHARE = 0.05

Line = dict[str, Any]


def write_curves(folder: Path) -> list[Path]:
    """curve.csv and curve.png of the run in `folder`; returns what was written.

    The table has every column of every line, empty where a line lacks it. Without matplotlib, or
    with nothing to draw, only the table is written. Raises OSError when `folder` cannot be read or
    written, and ValueError when its curve is damaged.
    """
    text = (folder / SOURCE_FILE).read_text(encoding="utf-8")
    lines: list[Line] = [json.loads(line) for line in text.splitlines() if line.strip()]
    if not lines:
        return []
    written = [_write_table(lines, folder / TABLE_FILE)]
    panels = [
        (title, [column for column in columns if any(column in line for line in lines)])
        for title, columns in _PANELS
    ]
    panels = [(title, columns) for title, columns in panels if columns]
    if panels and _has_matplotlib():
        written.append(_draw(lines, panels, folder / PICTURE_FILE))
    return written


def _write_table(lines: Sequence[Line], path: Path) -> Path:
    columns = list(dict.fromkeys(name for line in lines for name in line))
    unfinished = path.with_name(f"{path.name}.tmp")
    with unfinished.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(lines)
    os.replace(unfinished, path)
    return path


@functools.cache
def _has_matplotlib() -> bool:
    """Asked, and answered in the log, once per process."""
    if importlib.util.find_spec("matplotlib") is not None:
        return True
    logger.warning("curve.png is not drawn because matplotlib is missing; install nemodiff[eval].")
    return False


def _draw(lines: Sequence[Line], panels: Sequence[tuple[str, list[str]]], path: Path) -> Path:
    from matplotlib.figure import Figure

    width, height = _PANEL_INCHES
    picture = Figure((width * len(panels), height), dpi=_DPI, layout="constrained")
    shown = picture.subplots(1, len(panels), squeeze=False)[0]
    for axes, (title, columns) in zip(shown, panels, strict=True):
        for column in columns:
            _draw_column(axes, lines, column)
        axes.set_xlabel("training tokens")
        axes.set_title(title)
        axes.grid(alpha=0.3)
        axes.legend()
    unfinished = path.with_name(f"{path.name}.tmp")
    picture.savefig(unfinished, format="png")
    os.replace(unfinished, path)
    return path


def _draw_column(axes: Axes, lines: Sequence[Line], column: str) -> None:
    """Figures of evaluations as points, those of every step as their running mean."""
    points = [(line[_TOKENS], line[column]) for line in lines if column in line]
    tokens, values = [at for at, _ in points], [value for _, value in points]
    if 2 * len(points) < len(lines) or len(points) == 1:
        axes.plot(tokens, values, marker="o", label=column)
        return
    axes.plot(tokens, _running_mean(values, len(values) * _SMOOTHING_SHARE), label=column)


def _running_mean(values: Sequence[float], window: float) -> list[float]:
    """Mean of the last `window` values (at least one), fewer at the start."""
    size = max(1, round(window))
    parts = [values[max(0, at - size + 1) : at + 1] for at in range(len(values))]
    return [sum(part) / len(part) for part in parts]
