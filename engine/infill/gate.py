"""The gate: whether a finished candidate is worth offering, judged by what decoding it has shown.

`engine.infill.answer` asks it in mode ``auto``. A gate belongs to a model together with its causal
adapter, whose file ``gate.json`` stands beside the adapters in `engine.adapters`. As long as there
is none, NEVER is in force: nothing is withheld. Calibration needs the features of ungated answers
(`gate_features` of Facts, requests with ``"gate": false``).

The file: ``{"weights": {feature: number}, "bias": number, "threshold": number or null,
"max_first_end_logprob": number or null}``. A candidate is withheld when
1 / (1 + exp(-(bias + sum of weight * feature))) falls below `threshold`; and already at its first
token when the log-probability that nothing belongs here lies above `max_first_end_logprob`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine.decoding.state import Decoding
from engine.errors import EngineError
from engine.infill.hole import Hole

FEATURES = (
    "mean_logprob",
    "min_logprob",
    "first_logprob",
    "first_end_logprob",
    "num_tokens",
    "is_ended",
    "is_trivial",
    "repeats_suffix",
)
# JSON has no infinity, and below this one improbability is as good as another.
_MIN_LOGPROB = -50.0
# Letters and digits that a line must have for its repetition to mean anything.
_MIN_EVIDENCE_CHARS = 3
_NUM_SUFFIX_LINES = 3


class GateError(EngineError):
    """A gate's file that cannot be used; one sentence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """threshold, max_first_end_logprob: None = that part withholds nothing."""

    weights: Mapping[str, float] = field(default_factory=dict)
    bias: float = 0.0
    threshold: float | None = None
    max_first_end_logprob: float | None = None

    @classmethod
    def read(cls, path: Path) -> Gate:
        """Raises GateError naming the field at fault."""
        try:
            raw = json.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise GateError(f"{path} cannot be read ({error.strerror}).") from None
        except ValueError as error:
            raise GateError(f"{path} is not valid JSON ({error}).") from None
        if not isinstance(raw, dict):
            raise GateError(f"{path} must hold a JSON object.")
        weights = raw.get("weights", {})
        if not isinstance(weights, dict) or not set(weights) <= set(FEATURES):
            raise GateError(f"{path}: weights must be numbers of {', '.join(FEATURES)}.")
        limits = ("threshold", "max_first_end_logprob")
        return cls(
            weights={name: _number(path, name, value) for name, value in weights.items()},
            bias=_number(path, "bias", raw.get("bias", 0.0)),
            **{key: _number(path, key, raw[key]) for key in limits if raw.get(key) is not None},
        )

    def score(self, features: Mapping[str, float]) -> float | None:
        """In 0..1, higher = worth offering; None when a feature with a weight is not known."""
        if not set(self.weights) <= set(features):
            return None
        logit = self.bias + sum(weight * features[name] for name, weight in self.weights.items())
        return 1.0 / (1.0 + math.exp(-max(min(logit, 500.0), -500.0)))

    def withholds(self, features: Mapping[str, float]) -> bool:
        """Whether a candidate with these features is not to be offered."""
        first_end, limit = features.get("first_end_logprob"), self.max_first_end_logprob
        if first_end is not None and limit is not None and first_end > limit:
            return True
        score = self.score(features)
        return self.threshold is not None and score is not None and score < self.threshold

    def describe(self) -> str:
        """For /health: under which conditions nothing is offered."""
        parts = []
        if self.threshold is not None:
            parts.append(f"a score below {self.threshold:g}")
        if self.max_first_end_logprob is not None:
            chance = math.exp(self.max_first_end_logprob)
            parts.append(f"an end as first token with a probability above {chance:.3g}")
        return f"offers nothing at {' or '.join(parts)}" if parts else "withholds nothing"


NEVER = Gate()


def gate_features(state: Decoding, text: str, hole: Hole) -> dict[str, float]:
    """What is known of a candidate whose final text is `text`; features that are not are left out.

    Log-probabilities are natural, and those of healed tokens are given what was typed. mean, min
    and first: of the tokens that a causal pass has chosen, end token included. is_ended: by the
    model's own end token. is_trivial: no letter, digit or underscore. repeats_suffix: some line
    stands among the next lines right of the cursor.
    """
    masses = [*state.log_masses, *[0.0] * len(state.logprobs)]
    pairs = zip(state.logprobs, masses, strict=False)
    logprobs = [max(logprob - mass, _MIN_LOGPROB) for logprob, mass in pairs]
    found = {
        "num_tokens": float(len(state.tokens) - state.num_uncounted_tokens),
        "is_ended": float(len(state.logprobs) > len(state.tokens)),
        "is_trivial": float(not any(char.isalnum() or char == "_" for char in text)),
        "repeats_suffix": float(_repeats_suffix(text, hole)),
    }
    if logprobs:
        found["mean_logprob"] = sum(logprobs) / len(logprobs)
        found["min_logprob"] = min(logprobs)
        found["first_logprob"] = logprobs[0]
    if state.first_end_logprob is not None:
        found["first_end_logprob"] = max(state.first_end_logprob, _MIN_LOGPROB)
    return {name: round(value, 5) for name, value in found.items()}


def _repeats_suffix(text: str, hole: Hole) -> bool:
    lines = (line.strip() for line in hole.suffix.split("\n"))
    below = [line for line in lines if line][:_NUM_SUFFIX_LINES]
    return any(
        line.strip() in below and sum(map(str.isalnum, line)) >= _MIN_EVIDENCE_CHARS
        for line in text.split("\n")
    )


def _number(path: Path, name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise GateError(f"{path}: {name} must be a number, not {value!r}.")
    return float(value)
