"""`nemodiff eval trend`: reports of one measurement with several adapters, as one curve."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from engine.cli.main import main
from engine.errors import EngineError
from engine.evaluation.trend import Point, build_trend, trend_markdown


def write(folder: Path, name: str, value: float | None, **changed: Any) -> Path:
    estimate = None if value is None else {"value": value, "low": value - 0.1, "high": value + 0.1}
    figures = {"tokens_per_forward": estimate, "pass_at_1": {"value": 0.5, "low": None}}
    report = {
        "settings": {"suite": "infilling", "data": "rows", "max_tokens": 64},
        "num_rows": 40,
        "configurations": [
            {"label": "auto", "figures": figures},
            {"label": "linear_spec", "figures": {**figures, "tokens_per_forward": None}},
        ],
        **changed,
    }
    path = folder / name
    path.write_text(json.dumps(report))
    return path


def test_points_in_the_order_of_their_tokens(tmp_path: Path) -> None:
    points = [
        Point(9_000, write(tmp_path, "b.json", 1.9)),
        Point(0, write(tmp_path, "a.json", 1.0)),
    ]
    trend = build_trend(points, "tokens_per_forward")
    assert list(trend["lines"]) == ["auto"]
    assert [(p["num_tokens"], p["value"]) for p in trend["lines"]["auto"]] == [
        (0, 1.0),
        (9_000, 1.9),
    ]
    text = trend_markdown(trend)
    assert "| 0 | 1.00 (0.90 to 1.10) |" in text and "| 9,000 | 1.90 (1.80 to 2.00) |" in text


def test_three_files_are_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib")
    a, b = write(tmp_path, "a.json", 1.0), write(tmp_path, "b.json", 1.5)
    out = tmp_path / "trend.json"
    assert main(["eval", "trend", f"500={b}", f"0={a}", "--out", str(out)]) == 0
    assert "| 500 | 1.50" in capsys.readouterr().out
    assert out.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
    assert json.loads(out.read_text())["num_rows"] == 40


def test_reports_of_other_rows_are_refused(tmp_path: Path) -> None:
    a = write(tmp_path, "a.json", 1.0)
    for changed in ({"num_rows": 41}, {"settings": {"suite": "infilling", "data": "others"}}):
        other = write(tmp_path, "other.json", 1.5, **changed)
        with pytest.raises(EngineError, match=r"other\.json was measured on other rows"):
            build_trend([Point(0, a), Point(1, other)], "tokens_per_forward")


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"settings": {}, "num_rows": 1}', "\udcff"])
def test_what_is_no_report_is_named(tmp_path: Path, content: str) -> None:
    path = tmp_path / "some.json"
    path.write_text(content, errors="surrogateescape")
    with pytest.raises(EngineError, match=r"some\.json is no report"):
        build_trend([Point(0, path)], "tokens_per_forward")


def test_bad_input(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(EngineError, match="cannot be read"):
        build_trend([Point(0, tmp_path / "none.json")], "tokens_per_forward")
    with pytest.raises(EngineError, match="None of the reports"):
        build_trend([Point(0, write(tmp_path, "a.json", None))], "tokens_per_forward")
    out = ["--out", str(tmp_path / "t.json")]
    assert main(["eval", "trend", f"0={tmp_path / 'a.json'}", "--figure", "speed", *out]) != 0
    assert "no figure 'speed'" in capsys.readouterr().err
    for wrong in ("a.json", "x=a.json", "5="):
        with pytest.raises(SystemExit):
            main(["eval", "trend", wrong, *out])
