"""Calibration of the gate: synthetic rows whose right threshold is known."""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from engine.cli import evaluate
from engine.errors import EngineError
from engine.evaluation.calibration import Goal, calibrate, fit, separation, sweep, trade_off
from engine.evaluation.gate_samples import Recorded, Samples, make_samples
from engine.evaluation.records import RowResult, RunLog, RunSettings

from .test_records import result

FACTS = {"model": "m", "causal_adapter": "built in"}
Features = Callable[[int], dict[str, float]]


def settings(suite: str, *, gate: bool = False) -> RunSettings:
    return RunSettings(
        suite=suite,
        data=suite,
        data_sha256="00",
        max_tokens=64,
        stop_rules=True,
        gate=gate,
        shares_prefill=False,
    )


def answers(
    name: str, num_rows: int, features: Features, *, text: str = "x", gold: str = "x"
) -> list[RowResult]:
    return [
        result(
            f"{name}{number}",
            "auto",
            cluster=f"package {number % 20}",
            kind=name,
            text=text,
            gold=gold,
            verdict=None,
            gate_features=features(number),
        )
        for number in range(num_rows)
    ]


def recorded(suite: str, rows: Sequence[RowResult]) -> Recorded:
    return Recorded(settings(suite), FACTS, tuple(rows))


def samples(correct: Features, silent: Features, num_rows: int = 100) -> Samples:
    """So many correct completions and so many offers on silent rows."""
    return make_samples(
        recorded("fresh", answers("right", num_rows, correct)),
        recorded("silent", answers("silent", num_rows, silent, gold="")),
    )


def line(start: float, stop: float, num_rows: int = 100) -> Features:
    """Evenly spaced values of ``mean_logprob``."""
    return lambda number: {"mean_logprob": start + (stop - start) * number / (num_rows - 1)}


def threshold_on_feature(made: Samples) -> float:
    """The value of the only feature at which the calibrated rule changes its mind."""
    rule = calibrate(made, ["mean_logprob"], Goal())
    (weight,) = rule.weights.values()
    return (float(np.log(rule.threshold / (1 - rule.threshold))) - rule.bias) / weight


def test_separate_sets_are_told_apart_without_any_loss() -> None:
    made = samples(correct=line(-1.0, 0.0), silent=line(-3.0, -2.0))
    rule = calibrate(made, ["mean_logprob"], Goal())
    found = trade_off(made, rule.withholds(made), rule.threshold)
    assert (found.silence, found.lost) == (1.0, 0.0)
    assert threshold_on_feature(made) == pytest.approx(-1.5, abs=0.02)


def test_both_classes_weigh_the_same_however_many_rows_they_have() -> None:
    """Mirror images of each other: a score of one half lies between them."""
    made = make_samples(
        recorded("fresh", answers("right", 200, line(-1.0, 0.0, 200))),
        recorded("silent", answers("silent", 20, line(-3.0, -2.0, 20), gold="")),
    )
    rule = fit(made, ["mean_logprob"])
    assert -rule.bias / rule.weights["mean_logprob"] == pytest.approx(-1.5, abs=0.05)


def test_the_threshold_balances_both_margins() -> None:
    """Uniform on 0..100 and on 50..150 (reversed sign): silent rows lie below correct ones.

    At t the silence is t / 100 and (t - 50) / 100 is lost, so that with a goal of 70 % and 40 % the
    margins t / 100 - 0.7 and 0.4 - (t - 50) / 100 meet at t = 80.
    """
    made = samples(correct=line(50, 150, 101), silent=line(0, 100, 101), num_rows=101)
    rule = calibrate(made, ["mean_logprob"], Goal(min_silence=0.7, max_lost=0.4))
    found = trade_off(made, rule.withholds(made), rule.threshold)
    assert found.silence == pytest.approx(0.80, abs=0.011)
    assert found.lost == pytest.approx(0.30, abs=0.011)


def test_a_feature_that_is_high_where_nothing_belongs_is_turned_round() -> None:
    made = samples(correct=line(-9.0, -5.0), silent=line(-2.0, 0.0))
    rule = calibrate(made, ["mean_logprob"], Goal())
    assert rule.weights["mean_logprob"] < 0
    found = trade_off(made, rule.withholds(made), rule.threshold)
    assert (found.silence, found.lost) == (1.0, 0.0)
    assert separation(made, "mean_logprob") == 0.0


def test_two_features_do_together_what_neither_does_alone() -> None:
    rng = np.random.default_rng(3)
    noise = rng.normal(size=400)

    def shared(offset: float) -> Features:
        # Only the difference of the two says anything.
        return lambda number: {
            "a": offset + 3 * float(noise[number + 200 * (offset > 0)]),
            "b": 3 * float(noise[number + 200 * (offset > 0)]),
        }

    made = samples(correct=shared(2.0), silent=shared(0.0), num_rows=200)
    goal = Goal()
    alone = calibrate(made, ["a"], goal)
    both = calibrate(made, ["a", "b"], goal)
    lost = trade_off(made, alone.withholds(made), 0.0)
    kept = trade_off(made, both.withholds(made), 0.0)
    assert goal.margin(lost.silence, lost.lost) < 0
    assert (kept.silence, kept.lost) == (1.0, 0.0)


@given(
    st.lists(st.integers(-20, 0), min_size=2, max_size=20),
    st.lists(st.integers(-20, 0), min_size=2, max_size=20),
)
def test_no_threshold_has_a_larger_margin(good: list[int], bad: list[int]) -> None:
    # Means that are equal give a weight of zero, by which nothing is told apart.
    assume(abs(sum(good) / len(good) - sum(bad) / len(bad)) > 1e-6)
    made = make_samples(
        recorded("fresh", answers("r", len(good), lambda i: {"mean_logprob": float(good[i])})),
        recorded(
            "silent", answers("s", len(bad), lambda i: {"mean_logprob": float(bad[i])}, gold="")
        ),
    )
    goal = Goal()
    rule = calibrate(made, ["mean_logprob"], goal)
    chosen = trade_off(made, rule.withholds(made), rule.threshold)
    below = rule.weights["mean_logprob"] >= 0
    for cut in range(-21, 2):
        silence = sum((value < cut) == below for value in bad) / len(bad)
        lost = sum((value < cut) == below for value in good) / len(good)
        assert goal.margin(silence, lost) <= goal.margin(chosen.silence, chosen.lost) + 1e-9


def test_the_curve_runs_from_never_to_always_and_never_turns_back() -> None:
    made = samples(correct=line(-2.0, 0.0), silent=line(-3.0, -1.0))
    curve = sweep(made, fit(made, ["mean_logprob"]))
    assert (curve[0].silence, curve[0].lost) == (0.0, 0.0)
    assert (curve[-1].silence, curve[-1].lost) == (1.0, 1.0)
    for before, after in itertools.pairwise(curve):
        assert before.threshold < after.threshold
        assert before.silence <= after.silence
        assert before.lost <= after.lost


def test_blank_answers_are_silent_whatever_the_gate_does() -> None:
    blank = answers("blank", 30, lambda number: {}, text=" \n", gold="")
    made = make_samples(
        recorded("fresh", answers("right", 50, line(-1, 0, 50))),
        recorded("silent", [*answers("silent", 30, line(-3, -2, 30), gold=""), *blank]),
    )
    assert made.names == ("mean_logprob",)
    never = trade_off(made, np.zeros(110, dtype=bool), 0.0)
    assert never.silence == 0.5
    rule = calibrate(made, made.names, Goal())
    assert trade_off(made, rule.withholds(made), 0.0).silence == 1.0


def test_only_trailing_blanks_may_differ_in_a_correct_completion() -> None:
    rows = [
        *answers("a", 3, line(-1, 0, 3), text="x \n"),
        *answers("b", 5, line(-1, 0, 5), text="y"),
    ]
    made = make_samples(
        recorded("fresh", rows), recorded("silent", answers("s", 2, line(-3, -2, 2), gold=""))
    )
    assert int(made.is_correct.sum()) == 3


def test_the_early_exit_loses_no_correct_completion_more() -> None:
    def features(first_end: float, mean: float) -> Features:
        return lambda number: {"first_end_logprob": first_end - number / 100, "mean_logprob": mean}

    made = samples(correct=features(-5.0, -0.1), silent=features(-0.5, -3.0))
    rule = calibrate(made, made.names, Goal())
    assert rule.max_first_end_logprob == pytest.approx(-5.0)
    assert trade_off(made, rule.withholds(made), 0.0).lost == 0.0
    # Where the end is as likely on rows with something to say, it decides nothing early.
    level = samples(correct=features(-0.5, -0.1), silent=features(-0.5, -3.0))
    assert calibrate(level, level.names, Goal()).max_first_end_logprob is None


# The command: files of rows in, three files out.


def write_rows(
    path: Path, suite: str, rows: Sequence[RowResult], *, gate: bool = False, model: str = "m"
) -> Path:
    with RunLog.create(path) as log:
        log.begin(settings(suite, gate=gate))
        log.begin_engine("engine", {**FACTS, "model": model})
        for row in rows:
            log.add_row(row)
    return path


def run(*arguments: object) -> int:
    parser = argparse.ArgumentParser()
    evaluate.add_parser(parser.add_subparsers())
    args = parser.parse_args(["eval", "gate", *(str(each) for each in arguments)])
    code: int = args.run(args)
    return code


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """Correct completions above -1, wrong ones and offers on silent rows below; `noise` tells
    nothing."""
    noise = np.random.default_rng(1).normal(size=200)

    def both(features: Features) -> Features:
        return lambda number: {**features(number), "noise": float(noise[number])}

    right = answers("right", 100, both(line(-1.0, 0.0)))
    wrong = answers("wrong", 40, both(line(-3.0, -1.5, 40)), text="y")
    silent = answers("silent", 100, both(line(-3.0, -2.0)), gold="")
    return (
        write_rows(tmp_path / "fresh.rows.jsonl", "fresh", [*right, *wrong]),
        write_rows(tmp_path / "silent.rows.jsonl", "silent", silent),
    )


def test_the_command(
    files: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib")
    fresh, silent = files
    out = tmp_path / "gate.json"
    assert run("--fresh", fresh, "--silent", silent, "--out", out) == 0
    gate: dict[str, Any] = json.loads(out.read_text())
    found = gate["calibration"]
    assert found["is_goal_met"]
    assert found["is_goal_met_held_out"]
    assert found["chosen"]["silence"]["value"] == 1.0
    assert found["chosen"]["lost"]["value"] == 0.0
    assert found["held_out"]["silence"]["value"] >= 0.97
    assert found["ungated"]["silence"]["value"] == 0.0
    assert found["ungated"]["precision"]["value"] == pytest.approx(100 / 140)
    assert found["chosen"]["precision"]["value"] > 0.85
    areas = {each["features"]: each["roc_area"] for each in found["features"]}
    assert areas["mean_logprob"] == 1.0
    assert abs(areas["noise"] - 0.5) < 0.1
    assert {each["kind"] for each in found["by_kind"]} == {"right", "silent"}
    shown = capsys.readouterr().out
    assert shown == (tmp_path / "gate.md").read_text()
    assert "is met, on rows held out as well." in shown
    assert "140 fresh rows, of which 100 are correct" in shown
    assert (tmp_path / "gate.png").read_bytes().startswith(b"\x89PNG")


def test_the_engine_reads_what_the_command_writes(files: tuple[Path, Path], tmp_path: Path) -> None:
    """And decides as the calibration did, row by row."""
    gate_module = pytest.importorskip("engine.infill.gate")
    rows = [
        *answers("right", 50, line(-1.5, 0.0, 50)),
        *answers("wrong", 50, line(-3.0, -1.0, 50), text="y"),
    ]
    silent = answers("silent", 50, line(-3.0, -1.2, 50), gold="")
    fresh_path = write_rows(tmp_path / "a.rows.jsonl", "fresh", rows)
    silent_path = write_rows(tmp_path / "b.rows.jsonl", "silent", silent)
    out = tmp_path / "gate.json"
    run("--fresh", fresh_path, "--silent", silent_path, "--out", out)
    gate = gate_module.Gate.read(out)
    withheld = [gate.withholds(row.gate_features) for row in silent]
    chosen = json.loads(out.read_text())["calibration"]["chosen"]
    assert sum(withheld) / 50 == chosen["silence"]["value"]
    lost = [gate.withholds(row.gate_features) for row in rows[:50]]
    assert sum(lost) / 50 == chosen["lost"]["value"]


def test_a_missed_goal_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    same = line(-1.0, 0.0)
    fresh = write_rows(tmp_path / "a.rows.jsonl", "fresh", answers("right", 100, same))
    silent = write_rows(tmp_path / "b.rows.jsonl", "silent", answers("s", 100, same, gold=""))
    out = tmp_path / "gate.json"
    assert run("--fresh", fresh, "--silent", silent, "--out", out) == 0
    assert not json.loads(out.read_text())["calibration"]["is_goal_met"]
    assert "is missed; this is the best trade-off there is." in capsys.readouterr().out


def test_the_goal_can_be_set(files: tuple[Path, Path], tmp_path: Path) -> None:
    fresh, silent = files
    out = tmp_path / "gate.json"
    run("--fresh", fresh, "--silent", silent, "--out", out, "--min-silence", 1, "--max-lost", 0)
    assert json.loads(out.read_text())["calibration"]["goal"] == {"min_silence": 1, "max_lost": 0}


def test_rows_that_cannot_be_used_are_named(files: tuple[Path, Path], tmp_path: Path) -> None:
    fresh, silent = files
    out = ("--out", tmp_path / "gate.json")
    good = answers("right", 5, line(-1, 0, 5))
    quiet = answers("silent", 5, line(-1, 0, 5), gold="")

    def refused(match: str, fresh: Path = fresh, silent: Path = silent, *more: object) -> None:
        with pytest.raises(EngineError, match=match) as caught:
            run("--fresh", fresh, "--silent", silent, *out, *more)
        assert "\n" not in str(caught.value)

    refused("cannot be read", tmp_path / "absent.rows.jsonl")
    refused(r"holds rows of `nemodiff eval silent`, not of `fresh`", silent)
    gated = write_rows(tmp_path / "1.jsonl", "fresh", good, gate=True)
    refused("recorded with the gate on.*--no-gate", gated)
    refused(
        "no rows of the configuration ar, only of: auto", fresh, silent, "--configuration", "ar"
    )
    other = write_rows(tmp_path / "2.jsonl", "silent", quiet, model="other")
    refused("by different engines", fresh, other)
    wrong = write_rows(tmp_path / "3.jsonl", "fresh", answers("w", 5, line(-1, 0, 5), text="y"))
    refused("No completion of the fresh rows is correct", wrong)
    blank = [dataclasses.replace(row, text="") for row in quiet]
    refused("Nothing was offered", fresh, write_rows(tmp_path / "4.jsonl", "silent", blank))
    bare = [dataclasses.replace(row, gate_features={}) for row in good]
    refused("hold no features of the gate", write_rows(tmp_path / "5.jsonl", "fresh", bare))
    refused("holds no rows", write_rows(tmp_path / "6.jsonl", "fresh", []))


def test_wrong_usage(
    files: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fresh, silent = files
    assert run("--fresh", fresh, "--silent", silent, "--out", tmp_path / "gate.png") == 2
    assert ".png is written beside it" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        run("--fresh", fresh, "--silent", silent, "--out", "g.json", "--max-lost", "10%")
    assert "not a number from 0 to 1" in capsys.readouterr().err
