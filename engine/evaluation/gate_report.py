"""The report of a gate's calibration: the gate itself, what it does on both suites, its curve.

Called by `engine.cli.eval_gate`. The JSON is the gate's file as `engine.infill.gate` reads it, with
everything that speaks for it under ``calibration``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.evaluation.bootstrap import cluster_mean
from engine.evaluation.calibration import (
    Goal,
    Rule,
    TradeOff,
    calibrate,
    held_out_decisions,
    separation,
    sweep,
    trade_off,
)
from engine.evaluation.gate_samples import Recorded, Samples, make_samples
from engine.evaluation.markdown import interval, table

_MAX_CURVE_POINTS = 200
_ALL = "all"


def build_gate(fresh: Recorded, silent: Recorded, configuration: str, goal: Goal) -> dict[str, Any]:
    """Calibrate on each feature alone and on all of them, and keep what is best on rows held out.

    Raises CalibrationError.
    """
    samples = make_samples(fresh, silent)
    choices: dict[str, tuple[str, ...]] = {name: (name,) for name in samples.names}
    if len(samples.names) > 1:
        choices[_ALL] = samples.names
    decisions = {
        choice: held_out_decisions(samples, names, goal) for choice, names in choices.items()
    }
    margins = {choice: _margin(samples, withheld, goal) for choice, withheld in decisions.items()}
    best = max(choices, key=lambda choice: margins[choice])
    rule = calibrate(samples, choices[best], goal)
    chosen = trade_off(samples, rule.withholds(samples), rule.threshold)
    return {
        **asdict(rule),
        "calibration": {
            "configuration": configuration,
            "engine": fresh.engine,
            "fresh": _source(fresh, samples, is_silent=False),
            "silent": _source(silent, samples, is_silent=True),
            "goal": asdict(goal),
            "is_goal_met": goal.margin(chosen.silence, chosen.lost) >= 0.0,
            "is_goal_met_held_out": margins[best] >= 0.0,
            "chosen": _shares(samples, rule.withholds(samples)),
            "held_out": _shares(samples, decisions[best]),
            "ungated": _shares(samples, np.zeros(len(samples.clusters), dtype=np.bool_)),
            "features": [
                _feature(samples, choice, decisions[choice], margins[choice]) for choice in choices
            ],
            "by_kind": _by_kind(samples, rule),
            "curve": [asdict(point) for point in _thinned(sweep(samples, rule))],
        },
    }


def gate_markdown(gate: dict[str, Any]) -> str:
    """What was chosen, how it does, and what each feature would do alone."""
    found = gate["calibration"]
    goal, fresh, silent = found["goal"], found["fresh"], found["silent"]
    wanted = (
        f"silence of at least {100 * goal['min_silence']:g} % while at most "
        f"{100 * goal['max_lost']:g} % of correct completions are lost"
    )
    if not found["is_goal_met"]:
        verdict = "is missed; this is the best trade-off there is"
    elif not found["is_goal_met_held_out"]:
        verdict = "is met on these rows, but missed on rows held out"
    else:
        verdict = "is met, on rows held out as well"
    facts = ", ".join(f"{name} {value}" for name, value in found["engine"].items())
    lines = [
        f"## Gate of {found['configuration']}: {fresh['data']} and {silent['data']}",
        "",
        f"Engine: {facts}. {fresh['num_rows']} fresh rows, of which {fresh['num_correct']} are "
        f"correct but for white space at the end, and {silent['num_rows']} silent rows; intervals: "
        "95 %, bootstrap over clusters. Held out: decided by a gate that was calibrated on other "
        "clusters.",
        "",
        f"The goal, {wanted}, {verdict}.",
        "",
        _rule_sentence(gate),
        "",
        *_shares_table(found),
        "",
        *_features_table(found["features"]),
        "",
        *_kinds_table(found["by_kind"]),
    ]
    return "\n".join(lines) + "\n"


def _margin(samples: Samples, withheld: NDArray[np.bool_], goal: Goal) -> float:
    found = trade_off(samples, withheld, 0.0)
    return goal.margin(found.silence, found.lost)


def _source(recorded: Recorded, samples: Samples, *, is_silent: bool) -> dict[str, Any]:
    of_suite = samples.is_silent_row == is_silent
    return {
        **asdict(recorded.settings),
        "num_rows": int(of_suite.sum()),
        "num_blank": int((of_suite & samples.is_blank).sum()),
        "num_correct": int((of_suite & samples.is_correct).sum()),
    }


def _shares(samples: Samples, withheld: NDArray[np.bool_]) -> dict[str, Any]:
    """The shares of `TradeOff` with their intervals, and precision: correct among what is offered
    on fresh rows."""
    is_wrong = ~samples.is_silent_row & ~samples.is_correct & ~samples.is_blank
    is_offered = ~samples.is_silent_row & ~samples.is_blank & ~withheld
    return {
        "silence": _estimate(samples, withheld | samples.is_blank, samples.is_silent_row),
        "lost": _estimate(samples, withheld, samples.is_correct),
        "withheld_wrong": _estimate(samples, withheld, is_wrong),
        "precision": _estimate(samples, samples.is_correct, is_offered),
    }


def _estimate(
    samples: Samples, hits: NDArray[np.bool_], among: NDArray[np.bool_]
) -> dict[str, float | None] | None:
    places = np.flatnonzero(among)
    if not len(places):
        return None
    return cluster_mean(
        hits[places].astype(float).tolist(), [samples.clusters[place] for place in places]
    ).to_json()


def _feature(
    samples: Samples, choice: str, withheld: NDArray[np.bool_], margin: float
) -> dict[str, Any]:
    found = trade_off(samples, withheld, 0.0)
    return {
        "features": choice,
        "roc_area": None if choice == _ALL else separation(samples, choice),
        "held_out_silence": found.silence,
        "held_out_lost": found.lost,
        "held_out_margin": margin,
    }


def _by_kind(samples: Samples, rule: Rule) -> list[dict[str, Any]]:
    withheld = rule.withholds(samples)
    found = []
    for is_silent in (True, False):
        among = samples.is_silent_row if is_silent else samples.is_correct
        hits = (withheld | samples.is_blank) if is_silent else withheld
        for kind in sorted({samples.kinds[place] for place in np.flatnonzero(among)}):
            of_kind = among & np.array([each == kind for each in samples.kinds])
            found.append(
                {
                    "suite": "silent" if is_silent else "fresh",
                    "kind": kind,
                    "num_rows": int(of_kind.sum()),
                    "share": _estimate(samples, hits, of_kind),
                }
            )
    return found


def _thinned(curve: Sequence[TradeOff]) -> list[TradeOff]:
    """The points at which a share changes, at most _MAX_CURVE_POINTS of them, ends included."""
    turns = [
        after
        for before, after in zip([None, *curve], curve, strict=False)
        if before is None or (before.silence, before.lost) != (after.silence, after.lost)
    ]
    step = max(1, -(-len(turns) // _MAX_CURVE_POINTS))
    return [*turns[:-1:step], turns[-1]]


def _rule_sentence(gate: dict[str, Any]) -> str:
    terms = " ".join(f"{weight:+.4g} {name}" for name, weight in gate["weights"].items())
    sentence = (
        f"Nothing is offered where 1 / (1 + exp(-({gate['bias']:.4g} {terms}))) < "
        f"{gate['threshold']:.4g}"
    )
    limit = gate["max_first_end_logprob"]
    early = "" if limit is None else f", and at once where first_end_logprob > {limit:.4g}"
    return f"{sentence}{early}."


def _shares_table(found: dict[str, Any]) -> list[str]:
    names = {"ungated": "no gate", "chosen": "chosen", "held_out": "held out"}
    columns = ("silence", "lost", "withheld_wrong", "precision")
    return table(
        [
            "",
            "silence %",
            "correct completions lost %",
            "wrong completions withheld %",
            "correct among offered %",
        ],
        (
            [title, *(interval(found[key][name]) for name in columns)]
            for key, title in names.items()
        ),
    )


def _features_table(features: Sequence[dict[str, Any]]) -> list[str]:
    return table(
        ["feature", "ROC area", "held-out silence %", "held-out lost %", "margin, points"],
        (
            [
                each["features"],
                "-" if each["roc_area"] is None else f"{each['roc_area']:.3f}",
                f"{100 * each['held_out_silence']:.1f}",
                f"{100 * each['held_out_lost']:.1f}",
                f"{100 * each['held_out_margin']:+.1f}",
            ]
            for each in features
        ),
    )


def _kinds_table(kinds: Sequence[dict[str, Any]]) -> list[str]:
    return table(
        ["suite", "kind", "rows", "silent %, of correct lost %"],
        (
            [each["suite"], each["kind"], str(each["num_rows"]), interval(each["share"])]
            for each in kinds
        ),
    )
