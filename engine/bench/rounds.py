"""Interleaved rounds: in each, every variant is timed once, in a new random order.

Whatever slows the machine for a while then slows all variants alike, and a ratio is one of two
times that lie close together.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from engine.bench.timing import Sample

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Variant:
    """sample: times one call; its argument is the number of the round, equal for all variants of
    that round, so that they may take the same prompt. warm_calls: discarded calls before it."""

    name: str
    sample: Callable[[int], Sample]
    warm_calls: int = 0


@dataclass(frozen=True, slots=True)
class Schedule:
    """num_rounds: beside one that is discarded. max_s: no round begins after this time, which
    runs from the end of the discarded one, but the first counted one (None = all are done)."""

    num_rounds: int = 7
    seed: int = 0
    max_s: float | None = None


@dataclass(slots=True)
class Measured:
    """samples: of each variant, one for each round. order: of the variants, in each round, the
    discarded one first."""

    samples: dict[str, list[Sample]] = field(default_factory=dict)
    order: list[tuple[str, ...]] = field(default_factory=list)

    def figures(self, name: str) -> dict[str, Any]:
        """See `figures_of`."""
        return figures_of(self.samples[name])

    def ratio(self, above: str, below: str) -> float | None:
        """Median over the rounds of the quotient of both times within one round."""
        pairs = zip(self.samples.get(above, []), self.samples.get(below, []), strict=True)
        quotients = [first.ms / second.ms for first, second in pairs if second.ms > 0]
        return round(float(np.median(quotients)), 3) if quotients else None

    def total_ratio(self, above: str, below: str) -> float | None:
        """Time of all rounds together over that of another variant: where rounds have different
        prompts, each counts by how long it takes."""
        first, second = (sum(s.ms for s in self.samples.get(n, [])) for n in (above, below))
        return round(first / second, 3) if second > 0 else None


def measure(
    variants: Sequence[Variant],
    schedule: Schedule,
    progress: Progress = lambda phase, done, total: None,
    phase: str = "",
) -> Measured:
    """Time `variants`, whose names must differ."""
    assert len({variant.name for variant in variants}) == len(variants)
    rng, started = random.Random(schedule.seed), time.monotonic()
    measured = Measured({variant.name: [] for variant in variants})
    for number in range(schedule.num_rounds + 1):
        if number == 1:
            started = time.monotonic()
        spent = time.monotonic() - started
        if number > 1 and schedule.max_s is not None and spent > schedule.max_s:
            break
        shuffled = list(variants)
        rng.shuffle(shuffled)
        measured.order.append(tuple(variant.name for variant in shuffled))
        for variant in shuffled:
            for _ in range(variant.warm_calls if number else 0):
                variant.sample(number)
            sample = variant.sample(number)
            if number:
                measured.samples[variant.name].append(sample)
        progress(phase, number + 1, schedule.num_rounds + 1)
    return measured


def figures_of(samples: Sequence[Sample]) -> dict[str, Any]:
    """Median, 10th and 90th percentile of the times in ms; the median of those samples alone that
    are not noisy (None if all are); how many there are and how many of them are noisy."""
    clean = [sample.ms for sample in samples if not sample.is_noisy]
    return {
        **_percentiles([sample.ms for sample in samples], ""),
        "clean_median_ms": _rounded(np.median(clean)) if clean else None,
        **_percentiles([s.device_ms for s in samples if s.device_ms is not None], "device_"),
        "num_samples": len(samples),
        "num_noisy": len(samples) - len(clean),
    }


def _percentiles(values: Sequence[float], prefix: str) -> dict[str, Any]:
    if not values:
        return {} if prefix else {"median_ms": None, "p10_ms": None, "p90_ms": None}
    names = {"median": 50, "p10": 10, "p90": 90}
    return {f"{prefix}{name}_ms": _rounded(np.percentile(values, at)) for name, at in names.items()}


def best_ms(figures: Mapping[str, Any]) -> float:
    """The clean median where there is one, else the median of all samples."""
    clean = figures["clean_median_ms"]
    return float(figures["median_ms"] if clean is None else clean)


def _rounded(value: Any) -> float:
    return float(f"{float(value):.5g}")
