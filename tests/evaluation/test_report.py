"""Figures and tables from results: hand-computed small cases."""

from __future__ import annotations

import pytest

from engine.evaluation.records import GoldResult
from engine.evaluation.report import compare, markdown, summarize_gold, summarize_mode

from .test_records import result

AR = [
    result("1-a", tokens=4, forwards=4, wall_ms=10.0),
    result("1-b", verdict="failed", matches=False, tokens=6, forwards=6, wall_ms=20.0),
    result("2-a", verdict="timeout", matches=False, matches_trimmed=False, finish_reason="length"),
    result("3-a", matches=False),
]
AUTO = [
    result("1-a", "auto", tokens=4, forwards=1),
    result("1-b", "auto", text="y"),
    result("2-a", "auto", text="y"),
    result("3-a", "auto", verdict="failed"),
]


def test_figures_of_a_mode() -> None:
    summary = summarize_mode("ar", AR)
    assert summary["num_rows"] == 4
    assert summary["num_base_tasks"] == 3
    assert summary["pass_at_1"]["value"] == 0.5
    assert summary["exact_match"]["value"] == 0.25
    assert summary["exact_match_trimmed"]["value"] == 0.75
    assert summary["mean_tokens"] == 18 / 4
    assert summary["mean_forwards"] == 14 / 4
    # Of all tokens and all forwards, not the mean of the rows' ratios (which is 1.5).
    assert summary["tokens_per_forward"]["value"] == pytest.approx(18 / 14)
    assert summary["mean_wall_ms"] == 50 / 4
    assert summary["verdicts"] == {"passed": 2, "failed": 1, "timeout": 1}
    assert summary["finish_reasons"] == {"stop": 3, "length": 1}


def test_a_mode_without_any_forward_has_no_ratio() -> None:
    summary = summarize_mode("ar", [result("1-a", forwards=0, tokens=1)])
    assert summary["tokens_per_forward"] == {"value": 0.0, "low": None, "high": None}


def test_paired_comparison() -> None:
    found = compare("ar", AR, "auto", AUTO)
    assert found["num_rows"] == 4
    assert found["pass_at_1_difference"]["value"] == pytest.approx(0.25)
    assert found["num_only_other_passes"] == 2
    assert found["num_only_baseline_passes"] == 1
    assert found["num_different_texts"] == 2


def test_rows_of_one_mode_only_are_left_out() -> None:
    found = compare("ar", [*AR, result("9-a")], "auto", list(reversed(AUTO[:2])))
    assert found["num_rows"] == 2
    assert found["pass_at_1_difference"]["value"] == 0.5


def test_pairing_narrows_the_interval() -> None:
    """Two modes that agree on every row differ by nothing, however much rows differ."""
    verdicts = ["passed", "failed"] * 20
    first = [result(f"{i}-a", verdict=verdict) for i, verdict in enumerate(verdicts)]
    second = [result(f"{i}-a", "auto", verdict=verdict) for i, verdict in enumerate(verdicts)]
    found = compare("ar", first, "auto", second)["pass_at_1_difference"]
    assert found == {"value": 0.0, "low": 0.0, "high": 0.0}


def test_gold_ceiling_names_what_does_not_pass() -> None:
    results = [GoldResult("1-a", "1", "passed", ""), GoldResult("1-b", "1", "timeout", "")]
    assert summarize_gold(results) == {
        "num_rows": 2,
        "pass_at_1": 0.5,
        "not_passing": {"1-b": "timeout"},
    }


def test_markdown() -> None:
    report = {
        "settings": {
            "suite": "single-line",
            "max_tokens": 48,
            "stop_rules": False,
            "engine": {"model": "m", "dtype": "float32"},
        },
        "num_rows": 4,
        "num_rows_in_file": 457,
        "num_base_tasks": 3,
        "sandbox": {"isolation": "namespaces"},
        "gold": {"pass_at_1": 0.975},
        "modes": [summarize_mode("ar", AR), summarize_mode("auto", AUTO)],
        "comparisons": [compare("ar", AR, "auto", AUTO)],
    }
    text = markdown(report)
    assert "4 of 457 rows, 3 base tasks" in text
    assert "model m, dtype float32" in text
    assert "at most 48 tokens, without stop rules" in text
    assert "Canonical solutions: 97.5 % pass" in text
    assert "Sandbox: namespaces." in text
    tables = [line for line in text.splitlines() if line.startswith("|")]
    assert tables[2].startswith("| ar | 50.0 (")
    assert tables[2].endswith("| 12 | length 1, stop 3 |")
    assert tables[6].startswith("| ar → auto | +25.0 (")
    assert tables[6].endswith("| 1 | 2 | 2 of 4 |")
    # One line per row, whatever is in it, or the table falls apart.
    assert len({line.count("|") for line in tables[:4]}) == 1
