"""From results to figures: one summary per mode, paired comparisons, as JSON and as Markdown.

Called by `engine.cli.evaluate`; pure functions over RowResults.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from engine.evaluation.bootstrap import Estimate, cluster_mean, cluster_ratio
from engine.evaluation.records import GoldResult, RowResult


def summarize_gold(results: Sequence[GoldResult]) -> dict[str, Any]:
    """The ceiling: share of canonical solutions that pass, and the names of those that do not."""
    failing = {each.task_id: each.verdict for each in results if each.verdict != "passed"}
    return {
        "num_rows": len(results),
        "pass_at_1": (len(results) - len(failing)) / len(results),
        "not_passing": failing,
    }


def summarize_mode(mode: str, results: Sequence[RowResult]) -> dict[str, Any]:
    """All figures of one mode; `results` must not be empty. Shares and means are per row."""
    clusters = [each.base_task for each in results]
    num_rows = len(results)

    def share(hits: Sequence[bool]) -> dict[str, float | None]:
        return cluster_mean([float(hit) for hit in hits], clusters).to_json()

    tokens = [float(each.tokens) for each in results]
    forwards = [float(each.forwards) for each in results]
    per_forward = (
        cluster_ratio(tokens, forwards, clusters) if sum(forwards) else Estimate(0.0, None, None)
    )
    return {
        "mode": mode,
        "num_rows": num_rows,
        "num_base_tasks": len(set(clusters)),
        "pass_at_1": share([each.verdict == "passed" for each in results]),
        "exact_match": share([each.matches for each in results]),
        "exact_match_trimmed": share([each.matches_trimmed for each in results]),
        "mean_tokens": sum(tokens) / num_rows,
        "mean_forwards": sum(forwards) / num_rows,
        "tokens_per_forward": per_forward.to_json(),
        "mean_wall_ms": sum(each.wall_ms for each in results) / num_rows,
        "mean_engine_ms": sum(each.engine_ms for each in results) / num_rows,
        "num_near_ties": sum(each.num_near_ties for each in results),
        "verdicts": dict(Counter(each.verdict for each in results)),
        "finish_reasons": dict(Counter(each.finish_reason for each in results)),
        "decoding_modes": dict(Counter(each.decoding_mode for each in results)),
        "routes": dict(Counter(each.route for each in results)),
    }


def compare(
    baseline: str, first: Sequence[RowResult], other: str, second: Sequence[RowResult]
) -> dict[str, Any]:
    """Two modes on the rows that both have answered, paired: second minus first.

    Raises ValueError when they share no row.
    """
    by_task = {each.task_id: each for each in first}
    pairs = [(by_task[each.task_id], each) for each in second if each.task_id in by_task]
    clusters = [each.base_task for each, _ in pairs]
    passed = [(a.verdict == "passed", b.verdict == "passed") for a, b in pairs]
    return {
        "baseline": baseline,
        "other": other,
        "num_rows": len(pairs),
        "pass_at_1_difference": cluster_mean(
            [float(b) - float(a) for a, b in passed], clusters
        ).to_json(),
        "num_only_baseline_passes": sum(a and not b for a, b in passed),
        "num_only_other_passes": sum(b and not a for a, b in passed),
        "num_different_texts": sum(a.text != b.text for a, b in pairs),
    }


def markdown(report: dict[str, Any]) -> str:
    """The report as Markdown: a line of facts, a table of modes, a table of comparisons."""
    settings, engine = report["settings"], report["settings"]["engine"]
    gold, sandbox = report["gold"], report["sandbox"]
    rules = "with" if settings["stop_rules"] else "without"
    facts = ", ".join(f"{name} {value}" for name, value in engine.items())
    lines = [
        f"## {settings['suite']}: {report['num_rows']} of {report['num_rows_in_file']} rows, "
        f"{report['num_base_tasks']} base tasks",
        "",
        f"Engine: {facts}. Greedy, at most {settings['max_tokens']} tokens, {rules} stop rules. "
        f"Canonical solutions: {_percent(gold['pass_at_1'])} pass. "
        f"Sandbox: {sandbox['isolation']}. Intervals: 95 %, bootstrap over base tasks.",
        "",
        "| mode | pass@1 % | exact % | exact but for final newlines % | tokens | forwards "
        "| tokens per forward | ms | finish reasons |",
        "|---|---|---|---|---|---|---|---|---|",
        *(_mode_line(each) for each in report["modes"]),
    ]
    if report["comparisons"]:
        lines += [
            "",
            "| paired | pass@1 difference, points | only the first passes "
            "| only the second passes | different texts |",
            "|---|---|---|---|---|",
            *(_comparison_line(each) for each in report["comparisons"]),
        ]
    return "\n".join(lines) + "\n"


def _mode_line(summary: dict[str, Any]) -> str:
    cells = [
        summary["mode"],
        _interval(summary["pass_at_1"]),
        _interval(summary["exact_match"]),
        _interval(summary["exact_match_trimmed"]),
        f"{summary['mean_tokens']:.1f}",
        f"{summary['mean_forwards']:.1f}",
        _interval(summary["tokens_per_forward"], scale=1, digits=2),
        f"{summary['mean_wall_ms']:.0f}",
        ", ".join(f"{name} {count}" for name, count in sorted(summary["finish_reasons"].items())),
    ]
    return f"| {' | '.join(cells)} |"


def _comparison_line(comparison: dict[str, Any]) -> str:
    cells = [
        f"{comparison['baseline']} → {comparison['other']}",
        _interval(comparison["pass_at_1_difference"], sign="+"),
        str(comparison["num_only_baseline_passes"]),
        str(comparison["num_only_other_passes"]),
        f"{comparison['num_different_texts']} of {comparison['num_rows']}",
    ]
    return f"| {' | '.join(cells)} |"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _interval(
    estimate: dict[str, float | None], *, scale: int = 100, digits: int = 1, sign: str = ""
) -> str:
    value, low, high = (
        None if number is None else f"{number * scale:{sign}.{digits}f}"
        for number in (estimate["value"], estimate["low"], estimate["high"])
    )
    return str(value) if low is None else f"{value} ({low} to {high})"
