"""The report: its lines, what Markdown shows of it, and the picture."""

from __future__ import annotations

import builtins
import json
from pathlib import Path
from typing import Any

import pytest

from engine.evaluation.configurations import parse_points
from engine.evaluation.dataset import Dataset, EvalRow
from engine.evaluation.markdown import interval, markdown
from engine.evaluation.measure import AskOptions
from engine.evaluation.plot import draw_quality
from engine.evaluation.records import RecordsError, RunLog
from engine.evaluation.report import build_report, write_report
from engine.evaluation.run import Plan
from engine.evaluation.suites import SUITES

from .test_records import result

FACTS = {"model": "m", "dtype": "float32", "causal_adapter": "built in"}


def rows() -> tuple[EvalRow, ...]:
    return tuple(
        EvalRow(
            task_id=f"{cluster}-{language}-{kind}",
            cluster=cluster,
            language=language,
            kind=kind,
            prompt="a = ",
            suffix="\n",
            gold="x",
        )
        for cluster in ("1", "2", "3")
        for language in ("python", "go")
        for kind in ("line", "call")
    )


def plan(suite: str = "fresh", points: str = "auto,diffusion@0.9") -> Plan:
    return Plan(
        suite=SUITES[suite],
        dataset=Dataset("packages", "00", (*rows(), rows()[0])),
        rows=rows(),
        points=parse_points(points),
        options=AskOptions(max_tokens=48, stop_rules=False),
        with_bare_base=True,
    )


def finished(of: Plan) -> RunLog:
    """`auto` is right everywhere, the others on calls only."""
    log = RunLog.create(None)
    log.begin(of.settings)
    log.begin_engine("engine", FACTS)
    log.begin_engine("bare base", {**FACTS, "causal_adapter": None})
    for line in of.configurations(log):
        for row in of.rows:
            is_right = line.label == "auto" or row.kind == "call"
            log.add_row(
                result(
                    row.task_id,
                    line.label,
                    cluster=row.cluster,
                    language=row.language,
                    kind=row.kind,
                    text="x" if is_right else "y",
                    verdict=None,
                    forwards=2 if line.label == "auto" else 4,
                )
            )
    return log


@pytest.fixture
def report() -> dict[str, Any]:
    of = plan()
    return build_report(of, finished(of), None)


def test_the_lines_and_what_they_are_compared_with(report: dict[str, Any]) -> None:
    labels = [line["label"] for line in report["configurations"]]
    assert labels == ["ar, bare base", "ar", "auto", "diffusion@0.9"]
    assert report["configurations"][3]["confidence_threshold"] == 0.9
    assert [(each["baseline"], each["other"]) for each in report["comparisons"]] == [
        ("ar", "ar, bare base"),
        ("ar", "auto"),
        ("ar", "diffusion@0.9"),
    ]
    auto = report["comparisons"][1]
    assert (auto["figure"], auto["difference"]["value"]) == ("exact_match_trimmed", 0.5)
    assert (report["num_rows"], report["num_rows_in_file"], report["num_clusters"]) == (12, 13, 3)
    assert report["gold"] is None
    assert report["settings"]["gate"] is True


def test_without_ar_the_first_line_is_the_baseline() -> None:
    of = plan()
    log = RunLog.create(None)
    log.begin(of.settings)
    log.begin_engine("engine", {**FACTS, "causal_adapter": None})
    for line in of.configurations(log):
        for row in of.rows:
            log.add_row(result(row.task_id, line.label))
    report = build_report(of, log, None)
    assert [line["label"] for line in report["configurations"]] == ["auto", "diffusion@0.9"]
    assert report["comparisons"][0]["baseline"] == "auto"
    assert "bare base" not in report["engines"]


def test_markdown(report: dict[str, Any]) -> None:
    text = markdown(report)
    assert text.startswith("## fresh, packages: 12 of 13 rows, 3 clusters\n")
    assert "Engine: model m, dtype float32, causal_adapter built in. Bare base: the same" in text
    assert "at most 48 tokens, without stop rules, gate on." in text
    tables = [block.split("\n") for block in text.strip().split("\n\n") if block.startswith("|")]
    # A table of one width falls apart when a cell is missing.
    for lines in tables:
        assert len({line.count("|") for line in lines}) == 1
    quality, cost, *broken_down = tables
    assert "pass@1" not in quality[0]
    assert "exact but for final newlines %" in quality[0]
    assert quality[2].startswith("| ar, bare base | 50.0 (50.0 to 50.0) |")
    assert quality[4].startswith("| auto | 100.0 (100.0 to 100.0) |")
    assert "| auto | 4.00 (4.00 to 4.00) | 2.00 (2.00 to 2.00) |" in cost[4]
    by_kind = next(lines for lines in broken_down if "final newlines % by kind" in lines[0])
    assert by_kind[2].startswith("| call | 6 | 100.0 (")
    assert by_kind[3].startswith("| line | 6 | 0.0 (0.0 to 0.0) |")
    assert any("by language" in lines[0] for lines in broken_down)
    assert "| ar → auto | +50.0 (+50.0 to +50.0) | 0 | 6 | 6 of 12 |" in text


def test_notes_say_what_is_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    of = plan()
    log = finished(of)
    monkeypatch.setattr("engine.evaluation.figures.parses_with", lambda row, text: None)
    monkeypatch.setattr("engine.evaluation.metrics.can_measure_similarity", lambda: False)
    report = build_report(of, log, None)
    text = markdown(report)
    assert "- Whether rows in go, python parse is not known: no grammar is installed" in text
    assert "- Edit similarity is not known: rapidfuzz is not installed" in text
    assert "parses" not in text.split("\n\n")[2]


@pytest.mark.parametrize(
    ("estimate", "shown"),
    [
        (None, "-"),
        ({"value": 0.5, "low": None, "high": None}, "50.0"),
        ({"value": 0.5, "low": 0.25, "high": 0.75}, "50.0 (25.0 to 75.0)"),
    ],
)
def test_a_figure_and_its_interval(estimate: dict[str, float | None] | None, shown: str) -> None:
    assert interval(estimate) == shown


def _write(out: Path, report: dict[str, Any]) -> str | None:
    return write_report(out, report, "table\n", lambda path: draw_quality(report, path))


def test_json_markdown_and_picture(report: dict[str, Any], tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    assert _write(tmp_path / "report.json", report) is None
    assert json.loads((tmp_path / "report.json").read_text()) == report
    assert (tmp_path / "report.md").read_text() == "table\n"
    assert (tmp_path / "report.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(RecordsError, match=r"report\.json cannot be written"):
        _write(tmp_path / "no" / "report.json", report)


def test_every_configuration_is_a_point_with_both_bars(
    report: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    axes_module = pytest.importorskip("matplotlib.axes")
    drawn: dict[str, tuple[float, float]] = {}
    errorbar = axes_module.Axes.errorbar

    def spy(axes: Any, x: list[float], y: list[float], **options: Any) -> Any:
        drawn[options["label"]] = (x[0], y[0])
        assert options["xerr"] is not None
        assert options["yerr"] is not None
        return errorbar(axes, x, y, **options)

    monkeypatch.setattr(axes_module.Axes, "errorbar", spy)
    draw_quality(report, tmp_path / "report.png")
    assert drawn == {
        "ar, bare base": (4.0, 50.0),
        "ar": (4.0, 50.0),
        "auto": (2.0, 100.0),
        "diffusion@0.9": (4.0, 50.0),
    }


def test_without_matplotlib_everything_else_is_written(
    report: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole_import = builtins.__import__

    def refuse(name: str, *rest: Any, **more: Any) -> Any:
        if name.partition(".")[0] == "matplotlib":
            raise ModuleNotFoundError("No module named 'matplotlib'", name="matplotlib")
        return whole_import(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", refuse)
    sentence = _write(tmp_path / "report.json", report)
    assert sentence is not None
    assert "matplotlib is missing; install the extra 'eval'" in sentence
    assert (tmp_path / "report.json").exists()
    assert (tmp_path / "report.md").exists()
