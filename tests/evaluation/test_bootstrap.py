"""Intervals by cluster bootstrap: known answers, and the reason for clusters."""

from __future__ import annotations

import math

import numpy as np
import pytest

from engine.evaluation.bootstrap import cluster_mean, cluster_ratio


def _width(low: float | None, high: float | None) -> float:
    assert low is not None
    assert high is not None
    return high - low


def test_independent_rows_give_the_textbook_interval() -> None:
    num_rows, share = 400, 0.3
    values = [1.0] * int(num_rows * share) + [0.0] * int(num_rows * (1 - share))
    found = cluster_mean(values, [str(number) for number in range(num_rows)])
    margin = 1.96 * math.sqrt(share * (1 - share) / num_rows)
    assert found.value == pytest.approx(share)
    assert found.low == pytest.approx(share - margin, abs=0.006)
    assert found.high == pytest.approx(share + margin, abs=0.006)


def test_rows_that_stand_or_fall_together_count_once() -> None:
    """Ten copies of a row are no new knowledge: the interval is that of the clusters alone."""
    outcomes = [float(bit) for bit in np.random.default_rng(7).integers(2, size=40)]
    names = [f"task {number}" for number in range(40)]
    alone = cluster_mean(outcomes, names)
    repeated = cluster_mean(outcomes * 10, names * 10)
    assert repeated == alone
    as_rows = cluster_mean(outcomes * 10, [str(number) for number in range(400)])
    assert _width(repeated.low, repeated.high) > 2.5 * _width(as_rows.low, as_rows.high)


def test_the_mean_is_over_rows_even_if_clusters_differ_in_size() -> None:
    assert cluster_mean([1, 1, 1, 0], ["a", "a", "a", "b"]).value == 0.75


def test_ratio_of_sums() -> None:
    found = cluster_ratio([6, 2, 4], [3, 1, 4], ["a", "b", "c"])
    assert found.value == 12 / 8
    assert found.low is not None
    assert found.high is not None
    assert 1.0 <= found.low <= found.value <= found.high <= 2.0


def test_the_same_seed_gives_the_same_interval_and_another_one_nearly() -> None:
    values, names = [1.0, 0.0, 1.0, 1.0, 0.0] * 8, [str(number) for number in range(40)]
    assert cluster_mean(values, names) == cluster_mean(values, names)
    other = cluster_mean(values, names, seed=1)
    assert other.low == pytest.approx(cluster_mean(values, names).low, abs=0.03)


def test_the_order_of_rows_does_not_matter() -> None:
    values, names = [1.0, 0.0, 1.0, 0.0, 0.0], ["a", "b", "c", "c", "d"]
    assert cluster_mean(values, names) == cluster_mean(values[::-1], names[::-1])


def test_one_cluster_has_no_interval() -> None:
    found = cluster_mean([1.0, 0.0], ["a", "a"])
    assert (found.value, found.low, found.high) == (0.5, None, None)


@pytest.mark.parametrize(
    ("tops", "bottoms", "names"),
    [([], [], []), ([1.0], [1.0, 2.0], ["a", "b"]), ([1.0], [1.0], ["a", "b"]), ([1], [0], ["a"])],
)
def test_unusable_columns_are_refused(
    tops: list[float], bottoms: list[float], names: list[str]
) -> None:
    with pytest.raises(ValueError, match="denominators"):
        cluster_ratio(tops, bottoms, names)
