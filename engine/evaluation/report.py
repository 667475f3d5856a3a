"""The report of a measurement as JSON values, and its way to the disk with table and picture.

Called by `engine.cli.evaluate`; figures come from `summary.py`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from engine.evaluation import metrics
from engine.evaluation.configurations import AR, Configuration
from engine.evaluation.figures import Judged
from engine.evaluation.records import RecordsError, RunLog
from engine.evaluation.run import Plan
from engine.evaluation.sandbox import Sandbox
from engine.evaluation.summary import compare, summarize, summarize_gold


def build_report(plan: Plan, log: RunLog, sandbox: Sandbox | None) -> dict[str, Any]:
    """Everything that is known about a finished measurement, without any text of a row."""
    names = [row.task_id for row in plan.rows]
    lines = plan.configurations(log)
    judged = {line: _judged(plan, log, line) for line in lines}
    baseline = next((line for line in lines if line == Configuration(AR)), lines[0])
    headline = plan.suite.headline
    return {
        "settings": asdict(plan.settings),
        "headline": headline,
        "num_rows": len(plan.rows),
        "num_rows_in_file": len(plan.dataset.rows),
        "num_clusters": len({row.cluster for row in plan.rows}),
        "engines": {line.engine: log.engines[line.engine] for line in lines},
        "sandbox": None if sandbox is None else _sandbox(sandbox),
        "gold": None if sandbox is None else summarize_gold([log.gold[name] for name in names]),
        "configurations": [{**_names(line), **summarize(judged[line])} for line in lines],
        "comparisons": [
            {
                "baseline": baseline.label,
                "other": line.label,
                **compare(judged[baseline], judged[line], headline),
            }
            for line in lines
            if line != baseline
        ],
        "notes": _notes(plan, log, [each for line in lines for each in judged[line]]),
    }


def write_report(
    out: Path, report: dict[str, Any], text: str, draw: Callable[[Path], None]
) -> str | None:
    """Write `out` as JSON, `text` and the picture beside it as .md and .png.

    Returns the sentence that says why there is no picture where matplotlib is not installed, None
    when all is written. Raises RecordsError for a path that cannot be written.
    """
    _write(out, lambda path: path.write_text(json.dumps(report, indent=2) + "\n", "utf-8"))
    _write(out.with_suffix(".md"), lambda path: path.write_text(text, "utf-8"))
    picture = out.with_suffix(".png")
    try:
        _write(picture, draw)
    except ImportError as error:
        return (
            f"The picture {picture} was left out: the Python package {error.name} is missing; "
            "install the extra 'eval': pip install 'nemodiff[eval]'."
        )
    return None


def _write(path: Path, write: Callable[[Path], object]) -> None:
    try:
        write(path)
    except OSError as error:
        raise RecordsError(f"{path} cannot be written ({error.strerror}).") from None


def _judged(plan: Plan, log: RunLog, line: Configuration) -> list[Judged]:
    return [Judged(row, log.rows[line.label, row.task_id]) for row in plan.rows]


def _names(line: Configuration) -> dict[str, Any]:
    return {
        "label": line.label,
        "engine": line.engine,
        "mode": line.point.mode,
        "confidence_threshold": line.point.confidence_threshold,
    }


def _sandbox(sandbox: Sandbox) -> dict[str, Any]:
    return {"isolation": sandbox.isolation, "limits": sandbox.limits.to_json()}


def _notes(plan: Plan, log: RunLog, judged: Sequence[Judged]) -> list[str]:
    """What a reader of the figures would miss, one sentence each."""
    notes = []
    has_adapter = log.engines["engine"].get("causal_adapter") is not None
    if has_adapter and not plan.with_bare_base:
        notes.append("The bare base was left out.")
    unparsed = sorted({each.row.language for each in judged if each.parses is None})
    if unparsed:
        notes.append(
            f"Whether rows in {', '.join(unparsed)} parse is not known: no grammar is installed "
            "(extra 'eval')."
        )
    if not metrics.can_measure_similarity() and any(each.row.gold for each in judged):
        notes.append("Edit similarity is not known: rapidfuzz is not installed (extra 'eval').")
    return notes
