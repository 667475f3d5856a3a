"""Figures of a measurement: percentiles, a trend, a share of fairness. Used by the benches."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence


def percentile(values: Sequence[float], share: float) -> float | None:
    """The smallest value that at least `share` (0 to 1) of `values` do not exceed; None of none."""
    if not values:
        return None
    rank = max(1, math.ceil(share * len(values)))
    return sorted(values)[rank - 1]


def spread(values: Sequence[float]) -> dict[str, float | int | None]:
    """Number and p50, p90, p99 of `values`."""
    figures: dict[str, float | int | None] = {"num": len(values)}
    for name, share in (("p50", 0.5), ("p90", 0.9), ("p99", 0.99)):
        found = percentile(values, share)
        figures[name] = None if found is None else round(found, 3)
    return figures


def jain_index(values: Sequence[float]) -> float:
    """Jain's fairness index: 1 when all are equal, 1/n when one has everything."""
    squares = sum(value * value for value in values)
    return sum(values) ** 2 / (len(values) * squares) if squares else 1.0


def slope(times: Sequence[float], values: Sequence[float]) -> float:
    """Growth of `values` per unit of `times`, by least squares; 0 with fewer than two times."""
    if len(set(times)) < 2:
        return 0.0
    return statistics.linear_regression(times, values).slope


def ratio(above: float | None, below: float | None) -> float | None:
    """Rounded quotient; None where there is none."""
    return round(above / below, 4) if above is not None and below else None
