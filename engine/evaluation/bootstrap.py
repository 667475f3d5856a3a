"""95 % intervals by bootstrap over clusters: rows cut from one base task stand or fall together.

Resampling rows would treat them as independent and give intervals that are too narrow. The
percentile cluster bootstrap is Davison & Hinkley, "Bootstrap Methods and their Application", 3.8.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

NUM_RESAMPLES = 10_000
CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure and its interval; low and high are None with fewer than two clusters."""

    value: float
    low: float | None
    high: float | None

    def to_json(self) -> dict[str, float | None]:
        return {"value": self.value, "low": self.low, "high": self.high}


def cluster_mean(values: Sequence[float], clusters: Sequence[str], *, seed: int = 0) -> Estimate:
    """Mean over rows. values, clusters: one entry per row. Raises ValueError as `cluster_ratio`."""
    return cluster_ratio(values, [1.0] * len(values), clusters, seed=seed)


def cluster_ratio(
    numerators: Sequence[float],
    denominators: Sequence[float],
    clusters: Sequence[str],
    *,
    seed: int = 0,
) -> Estimate:
    """sum(numerators) / sum(denominators), clusters resampled whole.

    One entry per row in each argument; the same seed gives the same resamples, whatever the
    values. Raises ValueError when they are empty, of unequal length, or the denominators' sum
    is not positive.
    """
    if not _same_length(numerators, denominators, clusters):
        raise ValueError("numerators, denominators and clusters must have one entry per row")
    names = sorted(set(clusters))
    place = {name: index for index, name in enumerate(names)}
    at = [place[name] for name in clusters]
    tops = np.bincount(at, weights=np.asarray(numerators, dtype=np.float64))
    bottoms = np.bincount(at, weights=np.asarray(denominators, dtype=np.float64))
    if bottoms.sum() <= 0:
        raise ValueError("the denominators' sum must be positive")
    value = float(tops.sum() / bottoms.sum())
    if len(names) < 2:
        return Estimate(value, None, None)
    sums = _draw_counts(len(names), seed) @ np.stack([tops, bottoms], axis=1)
    # A resample may hold clusters without any denominator only; it says nothing about the ratio.
    usable = sums[:, 1] > 0
    ratios = sums[usable, 0] / sums[usable, 1]
    tail = (1.0 - CONFIDENCE) / 2
    low, high = np.quantile(ratios, [tail, 1.0 - tail])
    return Estimate(value, float(low), float(high))


# One report asks for many figures of the same clusters; 600 of them are 48 MB.
@lru_cache(maxsize=2)
def _draw_counts(num_clusters: int, seed: int) -> NDArray[np.float64]:
    """(NUM_RESAMPLES, num_clusters): how often each resample holds each cluster."""
    drawn = np.random.default_rng(seed).integers(num_clusters, size=(NUM_RESAMPLES, num_clusters))
    # Resample r counts in its own range of bins, so that one pass counts them all.
    drawn += np.arange(NUM_RESAMPLES)[:, None] * num_clusters
    counts = np.bincount(drawn.ravel(), minlength=drawn.size)
    return counts.reshape(drawn.shape).astype(np.float64)


def _same_length(*columns: Sequence[object]) -> bool:
    """Whether all columns have the same number of entries, and at least one."""
    lengths = {len(column) for column in columns}
    return len(lengths) == 1 and lengths != {0}
