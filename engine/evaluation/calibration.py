"""Calibration of the gate: a score from its features, and the threshold below which to be silent.

Called by `gate_report.py`. The score is logistic regression (Hastie, Tibshirani and Friedman, "The
Elements of Statistical Learning", 4.4) of correct completions against anything offered on silent
rows; wrong completions are no part of the fit, as neither keeping nor losing them is asked for.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from engine.evaluation.gate_samples import Samples

FIRST_END = "first_end_logprob"
_RIDGE = 1.0
_MAX_NEWTON_STEPS = 50
_NUM_FOLDS = 5
# A check before the first draft is worth having when it spares this share of silent rows the rest.
_MIN_EARLY_SHARE = 0.05


@dataclass(frozen=True, slots=True)
class Goal:
    """min_silence: share of silent rows on which nothing may be offered, at least. max_lost: share
    of correct completions that may be withheld, at most."""

    min_silence: float = 0.9
    max_lost: float = 0.1

    def margin(self, silence: float, lost: float) -> float:
        """By how much both are kept; negative when one is missed."""
        return min(silence - self.min_silence, self.max_lost - lost)


@dataclass(frozen=True, slots=True)
class Rule:
    """The gate's parameters as `engine.infill.gate.Gate` reads them: withheld is what scores below
    `threshold`, and what begins with the end token at more than `max_first_end_logprob`."""

    weights: dict[str, float]
    bias: float
    threshold: float = 0.0
    max_first_end_logprob: float | None = None

    def scores(self, samples: Samples) -> NDArray[np.float64]:
        """(num_rows,), in 0..1."""
        weights = np.array(list(self.weights.values()))
        logits = samples.columns(list(self.weights)) @ weights + self.bias
        return _logistic(logits)

    def withholds(self, samples: Samples) -> NDArray[np.bool_]:
        """bool (num_rows,); blank answers with unknown features are not withheld."""
        withheld = self.scores(samples) < self.threshold
        if self.max_first_end_logprob is not None:
            first_end = samples.columns([FIRST_END])[:, 0]
            withheld |= first_end > self.max_first_end_logprob
        return withheld


@dataclass(frozen=True, slots=True)
class TradeOff:
    """Shares at one threshold: silence of silent rows, lost of correct completions, and
    withheld_wrong of the fresh rows' other completions."""

    threshold: float
    silence: float
    lost: float
    withheld_wrong: float


def calibrate(samples: Samples, names: Sequence[str], goal: Goal) -> Rule:
    """Fit the score on the features `names` and choose the threshold of the largest margin."""
    rule = fit(samples, names)
    best = max(sweep(samples, rule), key=lambda at: (goal.margin(at.silence, at.lost), -at.lost))
    return _with_early_exit(samples, replace(rule, threshold=best.threshold))


def fit(samples: Samples, names: Sequence[str]) -> Rule:
    """Ridge logistic regression, both classes of equal total weight, by Newton's method."""
    chosen = samples.take(samples.is_correct | (samples.is_silent_row & ~samples.is_blank))
    columns, target = chosen.columns(names), chosen.is_correct.astype(np.float64)
    mean, spread = columns.mean(axis=0), columns.std(axis=0)
    spread[spread == 0.0] = 1.0
    inputs = np.column_stack([(columns - mean) / spread, np.ones(len(target))])
    share = max(target.mean(), 1e-9)
    importance = np.where(target > 0, 0.5 / share, 0.5 / max(1.0 - share, 1e-9))
    # The bias is not drawn to zero.
    ridge = np.diag([_RIDGE] * len(names) + [1e-6])
    beta = np.zeros(len(names) + 1)
    for _ in range(_MAX_NEWTON_STEPS):
        chance = _logistic(inputs @ beta)
        slope = inputs.T @ (importance * (target - chance)) - ridge @ beta
        curvature = (inputs * (importance * chance * (1.0 - chance))[:, None]).T @ inputs + ridge
        step = np.linalg.solve(curvature, slope)
        beta += step
        if np.abs(step).max() < 1e-9:
            break
    weights = beta[:-1] / spread
    return Rule(
        dict(zip(names, (float(weight) for weight in weights), strict=True)),
        float(beta[-1] - weights @ mean),
    )


def sweep(samples: Samples, rule: Rule) -> list[TradeOff]:
    """What each threshold brings that tells any two answers apart, from "never" to "always"."""
    scores = rule.scores(samples)
    offered = np.unique(scores[~samples.is_blank])
    between = (offered[1:] + offered[:-1]) / 2
    return [
        trade_off(samples, scores < threshold, float(threshold))
        for threshold in (0.0, *between, math.nextafter(float(offered[-1]), 2.0))
    ]


def trade_off(samples: Samples, withheld: NDArray[np.bool_], threshold: float) -> TradeOff:
    """withheld: bool (num_rows,)."""
    is_wrong = ~samples.is_silent_row & ~samples.is_correct & ~samples.is_blank
    return TradeOff(
        threshold,
        _share((withheld | samples.is_blank)[samples.is_silent_row]),
        _share(withheld[samples.is_correct]),
        _share(withheld[is_wrong]),
    )


def held_out_decisions(samples: Samples, names: Sequence[str], goal: Goal) -> NDArray[np.bool_]:
    """bool (num_rows,): whether each answer is withheld by a rule that was calibrated without any
    row of its cluster's fold. Falls back to the rule of all rows where a fold leaves too little."""
    order = {name: place for place, name in enumerate(sorted(set(samples.clusters)))}
    drawn = np.random.default_rng(0).permutation(len(order))
    folds = np.array([drawn[order[name]] % _NUM_FOLDS for name in samples.clusters])
    withheld = np.zeros(len(folds), dtype=np.bool_)
    for fold in range(_NUM_FOLDS):
        rest, own = samples.take(folds != fold), samples.take(folds == fold)
        has_both = rest.is_correct.any() and (rest.is_silent_row & ~rest.is_blank).any()
        rule = calibrate(rest if has_both else samples, names, goal)
        withheld[folds == fold] = rule.withholds(own)
    return withheld


def separation(samples: Samples, name: str) -> float:
    """Area under the ROC curve: the chance that a correct completion has more of the feature than
    what was offered on a silent row, ties counted half; 0.5 tells nothing, 0 is as good as 1."""
    values = samples.columns([name])[:, 0]
    good, bad = values[samples.is_correct], values[samples.is_silent_row & ~samples.is_blank]
    above = (good[:, None] > bad[None, :]).mean()
    return float(above + (good[:, None] == bad[None, :]).mean() / 2)


def _with_early_exit(samples: Samples, rule: Rule) -> Rule:
    """Add the limit on the end as first token that withholds no correct completion more."""
    if FIRST_END not in samples.names:
        return rule
    first_end = samples.columns([FIRST_END])[:, 0]
    kept = first_end[samples.is_correct & ~rule.withholds(samples)]
    if not len(kept):
        return rule
    limit = float(kept.max())
    if _share(first_end[samples.is_silent_row & ~samples.is_blank] > limit) < _MIN_EARLY_SHARE:
        return rule
    return replace(rule, max_first_end_logprob=limit)


def _logistic(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    # As the engine's gate does it: beyond these there is nothing left to tell apart.
    chances: NDArray[np.float64] = 1.0 / (1.0 + np.exp(-np.clip(logits, -500.0, 500.0)))
    return chances


def _share(hits: NDArray[np.bool_]) -> float:
    return float(hits.mean()) if len(hits) else 0.0
