"""From results to summaries: one per configuration, with breakdowns, and paired comparisons.

Called by `report.py`; pure functions over judged rows, plain JSON values out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from engine.evaluation.bootstrap import cluster_mean
from engine.evaluation.figures import BY_NAME, FIGURES, Judged, measure
from engine.evaluation.records import GoldResult


def summarize_gold(results: Sequence[GoldResult]) -> dict[str, Any]:
    """The ceiling: share of right texts that pass, and the names of those that do not."""
    failing = {each.task_id: each.verdict for each in results if each.verdict != "passed"}
    return {
        "num_rows": len(results),
        "pass_at_1": (len(results) - len(failing)) / len(results),
        "not_passing": failing,
    }


def summarize(judged: Sequence[Judged]) -> dict[str, Any]:
    """All figures of one configuration, broken down too; `judged` must not be empty."""
    results = [each.result for each in judged]
    return {
        **_figures(judged),
        "mean_wall_ms": sum(each.wall_ms for each in results) / len(results),
        "mean_engine_ms": sum(each.engine_ms for each in results) / len(results),
        "num_near_ties": sum(each.num_near_ties for each in results),
        "num_gated": sum(each.gated for each in results),
        "verdicts": dict(Counter(each.verdict for each in results if each.verdict is not None)),
        "finish_reasons": dict(Counter(each.finish_reason for each in results)),
        "decoding_modes": dict(Counter(each.decoding_mode for each in results)),
        "routes": dict(Counter(each.route for each in results)),
        "by_language": _by(judged, lambda each: each.row.language),
        "by_kind": _by(judged, lambda each: each.row.kind),
    }


def compare(first: Sequence[Judged], second: Sequence[Judged], headline: str) -> dict[str, Any]:
    """Two configurations on the rows that both have answered, paired: second minus first.

    headline: name of the figure that is compared, a share. Raises ValueError when they have no row
    in common about which it says anything.
    """
    part = BY_NAME[headline].part
    by_task = {each.row.task_id: each for each in first}
    pairs = [(by_task[each.row.task_id], each) for each in second if each.row.task_id in by_task]
    told = [
        (a.row.cluster, of_a[0], of_b[0])
        for a, b in pairs
        if (of_a := part(a)) is not None and (of_b := part(b)) is not None
    ]
    return {
        "figure": headline,
        "num_rows": len(pairs),
        "difference": cluster_mean(
            [b - a for _, a, b in told], [cluster for cluster, _, _ in told]
        ).to_json(),
        "num_only_baseline": sum(a > b for _, a, b in told),
        "num_only_other": sum(b > a for _, a, b in told),
        "num_different_texts": sum(a.result.text != b.result.text for a, b in pairs),
    }


def _figures(judged: Sequence[Judged]) -> dict[str, Any]:
    return {
        "num_rows": len(judged),
        "num_clusters": len({each.row.cluster for each in judged}),
        "figures": {figure.name: measure(figure, judged) for figure in FIGURES},
    }


def _by(judged: Sequence[Judged], key: Callable[[Judged], str]) -> dict[str, dict[str, Any]]:
    names = sorted({key(each) for each in judged})
    return {name: _figures([each for each in judged if key(each) == name]) for name in names}
