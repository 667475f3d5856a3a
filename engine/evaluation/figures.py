"""Figures: every number of a report, each a ratio of two sums over rows, with its interval.

`FIGURES` is the one list of them; called by `summary.py`, and by `report.py` for titles.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from engine.evaluation import metrics
from engine.evaluation.bootstrap import cluster_ratio
from engine.evaluation.dataset import EvalRow
from engine.evaluation.parse_check import parses_with
from engine.evaluation.records import RowResult

Part = tuple[float, float] | None
"""What one row adds to the numerator and to the denominator; None leaves the row out."""


@dataclass(slots=True)
class Judged:
    """A row and the answer to it; what takes time to find out is found out once."""

    row: EvalRow
    result: RowResult
    parses: bool | None = field(init=False)
    edit_similarity: float | None = field(init=False)

    def __post_init__(self) -> None:
        self.parses = parses_with(self.row, self.result.text)
        self.edit_similarity = None
        if self.row.gold and metrics.can_measure_similarity():
            self.edit_similarity = metrics.edit_similarity(self.result.text, self.row.gold)

    @property
    def is_exact_trimmed(self) -> bool:
        return metrics.is_exact_trimmed(self.result.text, self.row.gold)


@dataclass(frozen=True, slots=True)
class Figure:
    """part: a row's share in it. is_percent: printed as per cent."""

    name: str
    title: str
    part: Callable[[Judged], Part]
    is_percent: bool = True


def _share(hit: bool | float | None) -> Part:
    return None if hit is None else (float(hit), 1.0)


def _pass_at_1(judged: Judged) -> Part:
    verdict = judged.result.verdict
    return None if verdict is None else _share(verdict == "passed")


def _with_gold(judge: Callable[[str, str], bool | None]) -> Callable[[Judged], Part]:
    """A share over the rows in which something belongs in the hole."""

    def part(judged: Judged) -> Part:
        gold = judged.row.gold
        return _share(judge(judged.result.text, gold)) if gold else None

    return part


def _suffix_duplication(judged: Judged) -> Part:
    row = judged.row
    return _share(metrics.repeats_suffix(row.prompt, judged.result.text, row.suffix, row.gold))


def _wrong_length(text: str, gold: str) -> bool:
    return bool(metrics.is_overrun(text, gold) or metrics.is_underrun(text, gold))


def _acceptance_length(judged: Judged) -> Part:
    result = judged.result
    # Each verify pass emits one token of its own behind the drafted ones that it accepts.
    return (float(result.num_accepted_tokens + result.num_cycles), float(result.num_cycles))


FIGURES: tuple[Figure, ...] = (
    Figure("pass_at_1", "pass@1", _pass_at_1),
    Figure("exact_match", "exact", _with_gold(metrics.is_exact)),
    Figure(
        "exact_match_trimmed",
        "exact but for final newlines",
        _with_gold(metrics.is_exact_trimmed),
    ),
    Figure("edit_similarity", "edit similarity", lambda judged: _share(judged.edit_similarity)),
    Figure("parse_rate", "parses", lambda judged: _share(judged.parses)),
    Figure("suffix_duplication_rate", "repeats the suffix", _suffix_duplication),
    Figure("wrong_length_rate", "wrong length", _with_gold(_wrong_length)),
    Figure("overrun_rate", "over-run", _with_gold(metrics.is_overrun)),
    Figure("underrun_rate", "under-run", _with_gold(metrics.is_underrun)),
    Figure("silence_rate", "silent", lambda judged: _share(metrics.is_silent(judged.result.text))),
    Figure(
        "tokens_per_completion",
        "tokens",
        lambda judged: (float(judged.result.tokens), 1.0),
        is_percent=False,
    ),
    Figure(
        "forwards_per_completion",
        "forwards",
        lambda judged: (float(judged.result.forwards), 1.0),
        is_percent=False,
    ),
    Figure(
        "tokens_per_forward",
        "tokens per forward",
        lambda judged: (float(judged.result.tokens), float(judged.result.forwards)),
        is_percent=False,
    ),
    Figure("acceptance_length", "acceptance length", _acceptance_length, is_percent=False),
)

BY_NAME = {figure.name: figure for figure in FIGURES}


def measure(figure: Figure, judged: Sequence[Judged]) -> dict[str, Any] | None:
    """Value, 95 % interval and number of rows behind it; None when no row says anything about it
    (no tests, no grammar, no gold text, no verify pass)."""
    parts = [(each.row.cluster, part) for each in judged if (part := figure.part(each)) is not None]
    if sum(bottom for _, (_, bottom) in parts) <= 0:
        return None
    estimate = cluster_ratio(
        [top for _, (top, _) in parts],
        [bottom for _, (_, bottom) in parts],
        [cluster for cluster, _ in parts],
    )
    return {**estimate.to_json(), "num_rows": len(parts)}
