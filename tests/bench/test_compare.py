"""Like with like: the same prompts and as many tokens for every mode and peer."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from engine.bench import compare_case
from engine.bench.compare_case import compare_figures, even_holes, headlines
from engine.bench.completion_case import Tally
from engine.bench.options import build_parser
from engine.bench.plan import plan_of
from engine.bench.prompts import CodeHole
from engine.bench.report import markdown
from engine.bench.rounds import Measured
from engine.bench.run import run_bench
from engine.bench.subject import Subject
from engine.bench.timing import Sample
from engine.messages.completion import Completion


def answer(text: str, tokens: int, reason: str = "length") -> Completion:
    choice = SimpleNamespace(text=text, finish_reason=reason)
    return cast(Completion, SimpleNamespace(choices=[choice], facts=SimpleNamespace(tokens=tokens)))


@dataclass
class Asked:
    """In place of `ask`: answers by the prompt and the mode."""

    answers: dict[tuple[str, str], Completion]
    seen: list[tuple[str, str]] = field(default_factory=list)

    def __call__(self, engine: object, hole: CodeHole, mode: str, num: int) -> Completion:
        self.seen.append((hole.prefix, mode))
        return self.answers.get((hole.prefix, mode), answer("x", num))


def test_a_completion_is_compared_behind_a_warm_prefix(qwen: Path) -> None:
    args = ["compare", "--quick", "--device", "cpu", "--rounds", "3", "--prompts", "2"]
    args += ["--no-transformers", "--paths", "fp32", "--tokens", "5", "--model", str(qwen)]
    report = run_bench(plan_of(build_parser().parse_args(args)))
    rows = {row["label"]: row for row in report["cases"]["compare"]}
    assert set(rows) == {"fp32 auto", "fp32 ar"}
    auto, plain = rows["fp32 auto"], rows["fp32 ar"]
    assert auto["tokens"] == plain["tokens"] >= 5
    for row in rows.values():
        assert row["cached_tokens"] == row["prompt_tokens"] - 1
        assert row["num_samples"] == 3
    # In fp32 a verified draft changes nothing.
    assert (auto["same_text"], plain["same_text"]) == (1.0, 1.0)
    assert auto["versus_total"].keys() == auto["versus"].keys() == {"fp32 ar"}
    (line,) = headlines(report["cases"]["compare"])
    assert line in markdown(report)
    assert "/ fp32 ar = " in line


def test_only_holes_that_all_fill_to_the_same_length_are_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    holes = [CodeHole("m", prefix, "\n") for prefix in "abcde"]
    asked = Asked(
        {
            ("a", "ar"): answer("x", 4, "stop"),
            ("b", "auto"): answer("x", 3),
            ("d", "auto"): answer("x", 4, "stop"),
        }
    )
    monkeypatch.setattr(compare_case, "ask", asked)
    subjects = cast("list[Subject]", [SimpleNamespace(engine=object()) for _ in range(2)])
    assert [hole.prefix for hole in even_holes(subjects, holes, 1, 4)] == ["c"]
    # What comes behind the last one wanted is not asked for.
    assert ("d", "auto") not in asked.seen
    assert [hole.prefix for hole in even_holes(subjects, holes, 9, 4)] == ["c", "e"]
    # Both modes on both paths.
    assert asked.seen.count(("e", "ar")) == asked.seen.count(("e", "auto")) == 2


def test_without_such_holes_nothing_is_measured(
    qwen: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.bench.compare_case._is_even", lambda *given: False)
    args = ["compare", "--quick", "--device", "cpu", "--rounds", "1", "--prompts", "1"]
    args += ["--no-transformers", "--paths", "fp32", "--model", str(qwen)]
    report = run_bench(plan_of(build_parser().parse_args(args)))
    assert report["cases"]["compare"] == []
    assert "Nothing was measured." in markdown(report)


def test_the_line_has_ratios_to_ar_and_to_every_peer() -> None:
    measured = Measured(
        {
            "p auto": [Sample(10.0), Sample(10.0), Sample(40.0)],
            "p ar": [Sample(20.0), Sample(20.0), Sample(40.0)],
            "peer": [Sample(40.0), Sample(20.0), Sample(40.0)],
        }
    )
    rows: list[dict[str, Any]] = [
        {"name": "p auto", "label": "p auto", "path": "p", "mode": "auto", "is_peer": False},
        {"name": "p ar", "label": "p ar", "path": "p", "mode": "ar", "is_peer": False},
        {"name": "peer", "label": "peer", "path": "peer", "mode": "ar", "is_peer": True},
    ]
    for row in rows:
        row |= {"median_ms": 10.0, "tokens": 16.0, "forwards": 4.0}
        others = [other["name"] for other in rows if other is not row]
        row["versus"] = {name: measured.ratio(row["name"], name) for name in others}
    texts = ("same", "other", "same")
    tallies = {
        "p auto": Tally([answer(text, 16) for text in texts]),
        "p ar": Tally([answer("same", 16) for _ in texts]),
    }
    compare_figures(rows, measured, tallies)
    assert rows[0]["same_text"] == pytest.approx(2 / 3, abs=1e-3)
    assert "same_text" not in rows[2]
    (line,) = headlines(rows)
    assert "/ p ar = 0.50 (all rounds together 0.75)" in line
    assert "/ peer = 0.50 (all rounds together 0.60)" in line
    assert "In 67% of the rounds" in line
