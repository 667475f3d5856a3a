"""A report (see `report.py`) as Markdown: tables of figures, breakdowns and comparisons.

Called by `engine.cli.evaluate`; pure function over the JSON values.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from engine.evaluation.figures import BY_NAME, Figure

_QUALITY = (
    "pass_at_1",
    "exact_match",
    "exact_match_trimmed",
    "edit_similarity",
    "parse_rate",
    "suffix_duplication_rate",
    "overrun_rate",
    "underrun_rate",
    "silence_rate",
)
_COST = (
    "tokens_per_completion",
    "forwards_per_completion",
    "tokens_per_forward",
    "acceptance_length",
)
_BROKEN_DOWN = ("parse_rate", "silence_rate", "tokens_per_forward", "acceptance_length")
_GROUPS = {"by_language": "language", "by_kind": "kind"}
_SILENT_FIGURES = ("silence_rate", "parse_rate", "suffix_duplication_rate")


def markdown(report: dict[str, Any]) -> str:
    """The whole report; every table has one line per configuration, or per group of rows."""
    lines = [*_opening(report), "", *_quality_table(report), "", *_cost_table(report)]
    for key, title in _GROUPS.items():
        for name in dict.fromkeys((report["headline"], *_BROKEN_DOWN)):
            table = _breakdown(report, key, title, BY_NAME[name])
            lines += ["", *table] if table else []
    if report["comparisons"]:
        lines += ["", *_comparison_table(report)]
    if report["notes"]:
        lines += ["", *(f"- {note}" for note in report["notes"])]
    return "\n".join(lines) + "\n"


def interval(
    estimate: dict[str, Any] | None, *, scale: int = 100, digits: int = 1, sign: str = ""
) -> str:
    """``51.0 (48.9 to 53.1)``; a dash for a figure that is not known."""
    if estimate is None:
        return "-"
    value, low, high = (
        None if estimate[name] is None else f"{estimate[name] * scale:{sign}.{digits}f}"
        for name in ("value", "low", "high")
    )
    return str(value) if low is None else f"{value} ({low} to {high})"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """The lines of a Markdown table."""
    return [_line(head), "|" + "---|" * len(head), *(_line(row) for row in rows)]


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _opening(report: dict[str, Any]) -> list[str]:
    settings, engines = report["settings"], report["engines"]
    facts = ", ".join(f"{name} {value}" for name, value in engines["engine"].items())
    sentences = [f"Engine: {facts}."]
    if "bare base" in engines:
        sentences.append("Bare base: the same without its adapters.")
    rules = "with" if settings["stop_rules"] else "without"
    gate = "on" if settings["gate"] else "off"
    sentences.append(
        f"Greedy, at most {settings['max_tokens']} tokens, {rules} stop rules, gate {gate}."
    )
    if settings["shares_prefill"]:
        sentences.append("Configurations share the prefill: their times cannot be compared.")
    if report["gold"] is not None:
        sentences.append(f"Canonical solutions: {100 * report['gold']['pass_at_1']:.1f} % pass.")
        sentences.append(f"Sandbox: {report['sandbox']['isolation']}.")
    sentences.append("Intervals: 95 %, bootstrap over clusters.")
    return [
        f"## {settings['suite']}, {settings['data']}: {report['num_rows']} of "
        f"{report['num_rows_in_file']} rows, {report['num_clusters']} clusters",
        "",
        " ".join(sentences),
    ]


def _quality_table(report: dict[str, Any]) -> list[str]:
    names = _SILENT_FIGURES if report["headline"] == "silence_rate" else _QUALITY
    return _figures_table(report, names, {"gated": lambda line: str(line["num_gated"])})


def _cost_table(report: dict[str, Any]) -> list[str]:
    def ended(line: dict[str, Any]) -> str:
        reasons = sorted(line["finish_reasons"].items())
        return ", ".join(f"{name} {count}" for name, count in reasons)

    more = {"ms": lambda line: f"{line['mean_wall_ms']:.0f}", "finish reasons": ended}
    return _figures_table(report, _COST, more)


def _figures_table(
    report: dict[str, Any],
    names: Sequence[str],
    more: Mapping[str, Callable[[dict[str, Any]], str]],
) -> list[str]:
    """One line per configuration, a column for each figure that any of them knows, then `more`."""
    lines = report["configurations"]
    known = [
        BY_NAME[name] for name in names if any(line["figures"][name] is not None for line in lines)
    ]
    return table(
        ["configuration", *(_title(figure) for figure in known), *more],
        (
            [
                line["label"],
                *(_cell(figure, line) for figure in known),
                *(cell(line) for cell in more.values()),
            ]
            for line in lines
        ),
    )


def _breakdown(report: dict[str, Any], key: str, title: str, figure: Figure) -> list[str]:
    """One line per group, a column per configuration; nothing where one group is all there is."""
    lines = report["configurations"]
    groups = list(lines[0][key])
    if len(groups) < 2 or all(line["figures"][figure.name] is None for line in lines):
        return []
    return table(
        [f"{_title(figure)} by {title}", "rows", *(line["label"] for line in lines)],
        (
            [
                group,
                str(lines[0][key][group]["num_rows"]),
                *(_cell(figure, line[key][group]) for line in lines),
            ]
            for group in groups
        ),
    )


def _comparison_table(report: dict[str, Any]) -> list[str]:
    return table(
        [
            "paired",
            f"{BY_NAME[report['headline']].title} difference, points",
            "only the first",
            "only the second",
            "different texts",
        ],
        (
            [
                f"{each['baseline']} → {each['other']}",
                interval(each["difference"], sign="+"),
                str(each["num_only_baseline"]),
                str(each["num_only_other"]),
                f"{each['num_different_texts']} of {each['num_rows']}",
            ]
            for each in report["comparisons"]
        ),
    )


def _title(figure: Figure) -> str:
    return f"{figure.title} %" if figure.is_percent else figure.title


def _cell(figure: Figure, summary: dict[str, Any]) -> str:
    estimate = summary["figures"][figure.name]
    if figure.is_percent:
        return interval(estimate)
    return interval(estimate, scale=1, digits=2)
