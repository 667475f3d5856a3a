"""Figures and summaries from results: hand-computed small cases."""

from __future__ import annotations

import pytest

from engine.evaluation import metrics
from engine.evaluation.dataset import EvalRow
from engine.evaluation.figures import BY_NAME, FIGURES, Judged, measure
from engine.evaluation.records import GoldResult, RowResult
from engine.evaluation.summary import compare, summarize, summarize_gold

from .test_records import result


def judged(answer: RowResult, *, suffix: str = "\nreturn total\n") -> Judged:
    row = EvalRow(
        task_id=answer.task_id,
        cluster=answer.cluster,
        language=answer.language,
        kind=answer.kind,
        prompt="total = ",
        suffix=suffix,
        gold=answer.gold,
    )
    return Judged(row, answer)


AR = [
    judged(result("1-a", tokens=4, forwards=4, wall_ms=10.0)),
    judged(result("1-b", verdict="failed", text="x\n", tokens=6, forwards=6, wall_ms=20.0)),
    judged(result("2-a", verdict="timeout", text="x +", finish_reason="length", kind="call")),
    judged(result("3-a", text="y", language="go")),
]
AUTO = [
    judged(result("1-a", "auto", tokens=4, forwards=1)),
    judged(result("1-b", "auto", text="y")),
    judged(result("2-a", "auto", text="y", kind="call")),
    judged(result("3-a", "auto", verdict="failed", language="go")),
]


def value(name: str, answers: list[Judged]) -> float | None:
    found = measure(BY_NAME[name], answers)
    return None if found is None else found["value"]


def test_figures_of_a_configuration() -> None:
    assert value("pass_at_1", AR) == 0.5
    assert value("exact_match", AR) == 0.25
    assert value("exact_match_trimmed", AR) == 0.5
    assert value("edit_similarity", AR) == pytest.approx((1 + 1 + 1 / 3 + 0) / 4)
    assert value("overrun_rate", AR) == 0.25
    assert value("underrun_rate", AR) == 0.0
    assert value("silence_rate", AR) == 0.0
    assert value("tokens_per_completion", AR) == 18 / 4
    assert value("forwards_per_completion", AR) == 14 / 4
    # Of all tokens and all forwards, not the mean of the rows' ratios (which is 1.5).
    assert value("tokens_per_forward", AR) == pytest.approx(18 / 14)


def test_each_figure_says_on_how_many_rows_it_rests() -> None:
    found = measure(BY_NAME["pass_at_1"], [*AR, judged(result("4-a", verdict=None))])
    assert found is not None
    assert found["num_rows"] == 4
    assert found["low"] < found["value"] < found["high"]


def test_what_no_row_tells_is_not_known() -> None:
    untested = [judged(result("1-a", verdict=None, gold="", forwards=0))]
    known = {figure.name for figure in FIGURES if measure(figure, untested) is not None}
    assert known == {
        "silence_rate",
        "suffix_duplication_rate",
        "tokens_per_completion",
        "forwards_per_completion",
    } | ({"parse_rate"} if untested[0].parses is not None else set())


def test_wrong_length_is_either_way_and_silence_is_neither() -> None:
    texts = {"1": "x + y", "2": "x + y + z", "3": "x +", "4": "", "5": "w"}
    answers = [judged(result(f"{name}-a", text=text, gold="x + y")) for name, text in texts.items()]
    assert value("wrong_length_rate", answers) == 0.4
    assert value("overrun_rate", answers) == 0.2
    assert value("underrun_rate", answers) == 0.2
    assert value("silence_rate", answers) == 0.2


def test_repeated_suffix() -> None:
    answers = [
        judged(result("1-a", text="x\nreturn total\n")),
        judged(result("2-a")),
        judged(result("3-a", text="y")),
        judged(result("4-a", text="x\nreturn")),
    ]
    assert value("suffix_duplication_rate", answers) == 0.25


def test_parse_rate_leaves_out_what_cannot_be_judged() -> None:
    whole = "\n"
    answers = [
        judged(result("1-a"), suffix=whole),
        judged(result("2-a", text="x ="), suffix=whole),
        judged(result("3-a", text="("), suffix=whole),
        judged(result("4-a", language="cobol"), suffix=whole),
    ]
    assert value("parse_rate", answers) == pytest.approx(1 / 3)


def test_acceptance_length_counts_the_verify_pass_s_own_token() -> None:
    spec = {"num_cycles": 4, "num_accepted_tokens": 10, "num_drafted_tokens": 28}
    answers = [
        judged(result("1-a", **spec)),
        judged(result("2-a", num_cycles=1, num_drafted_tokens=7)),
        # A mode without verify passes, as on another route, has no part in it.
        judged(result("3-a", tokens=50)),
    ]
    assert value("acceptance_length", answers) == pytest.approx((14 + 1) / 5)
    assert value("acceptance_length", AR) is None


def test_without_rapidfuzz_edit_similarity_is_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "can_measure_similarity", lambda: False)
    assert value("edit_similarity", [judged(result("1-a"))]) is None


def test_summary_and_breakdowns() -> None:
    summary = summarize(AR)
    assert summary["num_rows"] == 4
    assert summary["num_clusters"] == 3
    assert summary["mean_wall_ms"] == 50 / 4
    assert summary["verdicts"] == {"passed": 2, "failed": 1, "timeout": 1}
    assert summary["finish_reasons"] == {"stop": 3, "length": 1}
    assert list(summary["by_language"]) == ["go", "python"]
    assert summary["by_language"]["go"]["num_rows"] == 1
    assert summary["by_language"]["python"]["figures"]["pass_at_1"]["value"] == pytest.approx(1 / 3)
    assert summary["by_kind"]["call"]["figures"]["overrun_rate"]["value"] == 1.0
    assert summary["by_kind"]["line"]["figures"]["exact_match"]["num_rows"] == 3


def test_paired_comparison() -> None:
    found = compare(AR, AUTO, "pass_at_1")
    assert found["num_rows"] == 4
    assert found["difference"]["value"] == pytest.approx(0.25)
    assert found["num_only_other"] == 2
    assert found["num_only_baseline"] == 1
    assert found["num_different_texts"] == 3
    assert compare(AR, AUTO, "exact_match_trimmed")["difference"]["value"] == 0.0


def test_rows_of_one_configuration_only_are_left_out() -> None:
    found = compare([*AR, judged(result("9-a"))], list(reversed(AUTO[:2])), "pass_at_1")
    assert found["num_rows"] == 2
    assert found["difference"]["value"] == 0.5
    with pytest.raises(ValueError, match="one entry per row"):
        compare(AR, [judged(result("9-a"))], "pass_at_1")


def test_pairing_narrows_the_interval() -> None:
    """Two modes that agree on every row differ by nothing, however much rows differ."""
    verdicts = ["passed", "failed"] * 20
    first = [judged(result(f"{i}-a", verdict=verdict)) for i, verdict in enumerate(verdicts)]
    second = [
        judged(result(f"{i}-a", "auto", verdict=verdict)) for i, verdict in enumerate(verdicts)
    ]
    found = compare(first, second, "pass_at_1")["difference"]
    assert found == {"value": 0.0, "low": 0.0, "high": 0.0}


def test_gold_ceiling_names_what_does_not_pass() -> None:
    results = [GoldResult("1-a", "1", "passed", ""), GoldResult("1-b", "1", "timeout", "")]
    assert summarize_gold(results) == {
        "num_rows": 2,
        "pass_at_1": 0.5,
        "not_passing": {"1-b": "timeout"},
    }
