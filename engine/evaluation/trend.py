"""A figure against training tokens: several reports of one measurement, one per adapter.

Called by `engine.cli.eval_trend`; the picture is `engine.evaluation.plot.draw_trend`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from engine.errors import EngineError
from engine.evaluation.figures import BY_NAME
from engine.evaluation.markdown import interval, table


class Point(NamedTuple):
    """num_tokens: of training before this report was measured."""

    num_tokens: int
    report: Path


def build_trend(points: Sequence[Point], figure: str) -> dict[str, Any]:
    """The estimates of `figure` for each configuration that the reports have, by training tokens.

    Raises EngineError for a file that is no report, for reports of different rows or settings, and
    where none of them knows the figure.
    """
    ordered = sorted(points)
    reports = [_read(point.report) for point in ordered]
    first = reports[0]
    for point, report in zip(ordered, reports, strict=True):
        if any(report[key] != first[key] for key in ("settings", "num_rows")):
            raise EngineError(
                f"{point.report} was measured on other rows or with other settings than "
                f"{ordered[0].report}; only reports of one measurement can be compared."
            )
    lines: dict[str, list[dict[str, Any]]] = {}
    for point, report in zip(ordered, reports, strict=True):
        for line in report["configurations"]:
            estimate = line["figures"].get(figure)
            if estimate is not None:
                found = {"num_tokens": point.num_tokens, **estimate}
                lines.setdefault(line["label"], []).append(found)
    if not lines:
        raise EngineError(f"None of the reports has the figure {figure}.")
    return {
        "figure": figure,
        "settings": first["settings"],
        "num_rows": first["num_rows"],
        "lines": lines,
    }


def trend_markdown(trend: dict[str, Any]) -> str:
    """One row a number of training tokens, one column a configuration."""
    figure, lines = BY_NAME[trend["figure"]], trend["lines"]
    tokens = sorted({point["num_tokens"] for line in lines.values() for point in line})
    cells = {
        (label, point["num_tokens"]): (
            interval(point) if figure.is_percent else interval(point, scale=1, digits=2)
        )
        for label, line in lines.items()
        for point in line
    }
    settings = trend["settings"]
    return "\n".join(
        [
            f"# {figure.title} against training tokens",
            "",
            f"{settings['suite']}, {settings['data']}: {trend['num_rows']} rows.",
            "",
            *table(
                ["training tokens", *lines],
                [[f"{at:,}", *(cells.get((label, at), "") for label in lines)] for at in tokens],
            ),
            "",
        ]
    )


def _read(path: Path) -> dict[str, Any]:
    try:
        report = json.loads(path.read_text("utf-8"))
        _ = report["settings"]["data"], report["num_rows"]
        _ = [(line["label"], line["figures"]) for line in report["configurations"]]
    except OSError as error:
        raise EngineError(f"{path} cannot be read ({error.strerror}).") from None
    except (ValueError, KeyError, TypeError):
        raise EngineError(f"{path} is no report of `nemodiff eval`.") from None
    return dict(report)
