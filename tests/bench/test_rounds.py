"""Order, ratios and noise of interleaved rounds, with times that are made up."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from engine.bench.ceilings import CeilingProbe
from engine.bench.costs import Work
from engine.bench.rounds import Measured, Schedule, Variant, figures_of, measure
from engine.bench.table import Line, floor_figures, line_rows
from engine.bench.timing import Sample, run_queue_ns, timed, waiting_share


def recorded(calls: list[tuple[str, int]], name: str, warm_calls: int = 0) -> Variant:
    def sample(number: int) -> Sample:
        calls.append((name, number))
        return Sample(1.0)

    return Variant(name, sample, warm_calls)


def order(seed: int) -> list[tuple[str, ...]]:
    variants = [recorded([], name) for name in "abcdef"]
    return measure(variants, Schedule(num_rounds=4, seed=seed)).order


def test_each_round_has_every_variant_in_an_order_of_its_own() -> None:
    rounds = order(7)
    assert len(rounds) == 5
    assert all(sorted(each) == list("abcdef") for each in rounds)
    assert len(set(rounds)) > 1


def test_the_seed_gives_the_order() -> None:
    assert order(7) == order(7)
    assert order(7) != order(8)


def test_the_first_round_and_warm_calls_are_discarded() -> None:
    calls: list[tuple[str, int]] = []
    measured = measure([recorded(calls, "a", 1), recorded(calls, "b")], Schedule(num_rounds=3))
    assert {name: len(found) for name, found in measured.samples.items()} == {"a": 3, "b": 3}
    # The discarded round needs no warm call of its own.
    assert [number for name, number in calls if name == "a"] == [0, 1, 1, 2, 2, 3, 3]
    assert [number for name, number in calls if name == "b"] == [0, 1, 2, 3]


def test_when_time_is_up_one_counted_round_was_done() -> None:
    measured = measure([recorded([], "a")], Schedule(num_rounds=50, max_s=0.0))
    assert len(measured.samples["a"]) == 1


def test_a_ratio_is_that_of_one_round() -> None:
    """The machine was ten times slower in the second round; the ratio does not notice."""
    slow = [Sample(2.0), Sample(20.0), Sample(2.0)]
    quick = [Sample(1.0), Sample(10.0), Sample(1.0)]
    measured = Measured({"slow": slow, "quick": quick, "none": []})
    assert measured.ratio("slow", "quick") == 2.0
    assert measured.ratio("quick", "slow") == 0.5
    uneven = Measured({"a": [Sample(1.0), Sample(30.0)], "b": [Sample(10.0), Sample(3.0)]})
    # Medians would say 15.5 / 6.5.
    assert uneven.ratio("a", "b") == pytest.approx((0.1 + 10.0) / 2)
    assert Measured({"a": [], "b": []}).ratio("a", "b") is None


def test_noisy_samples_are_marked_and_left_out_of_the_clean_median() -> None:
    samples = [Sample(10.0), Sample(11.0), Sample(12.0), Sample(99.0, waiting=0.06)]
    figures = figures_of(samples)
    assert figures["num_samples"] == 4
    assert figures["num_noisy"] == 1
    assert figures["clean_median_ms"] == 11.0
    assert figures["median_ms"] == 11.5
    assert figures["p10_ms"] < figures["median_ms"] < figures["p90_ms"]
    assert figures_of([Sample(1.0, waiting=1.0)])["clean_median_ms"] is None


def test_device_times_are_told_where_there_are_some() -> None:
    assert figures_of([Sample(2.0, device_ms=1.0)])["device_median_ms"] == 1.0
    assert "device_median_ms" not in figures_of([Sample(2.0)])


def test_waiting_is_that_of_the_thread_that_waited_most(tmp_path: Path) -> None:
    for thread, waited in (("1", 500), ("2", 9_000), ("3", 0)):
        (tmp_path / thread).mkdir()
        (tmp_path / thread / "schedstat").write_text(f"100 {waited} 3\n")
    (tmp_path / "4").mkdir()
    (tmp_path / "4" / "schedstat").write_text("")
    after = run_queue_ns(tmp_path)
    assert after == {"1": 500, "2": 9_000, "3": 0}
    assert waiting_share({"1": 0, "2": 8_000}, after, 10_000) == 0.1
    assert waiting_share({}, {}, 10_000) == 0.0


def test_timed_does_the_work_once() -> None:
    calls: list[int] = []
    sample = timed(torch.device("cpu"), lambda: calls.append(1))
    assert calls == [1]
    assert sample.ms > 0
    assert sample.device_ms is None


def test_ceilings_come_from_the_same_rounds() -> None:
    probe = CeilingProbe(torch.device("cpu"), ["float32", "bfloat16", "float32"], small=True)
    before = torch.get_num_threads()
    measured = measure([*probe.variants(), recorded([], "a")], Schedule(num_rounds=2))
    assert torch.get_num_threads() == before
    assert all(len(found) == 2 for found in measured.samples.values())
    ceilings = probe.read([measured])
    assert ceilings.bytes_per_s > 0
    assert list(ceilings.flops_per_s) == ["float32", "bfloat16"]
    assert ceilings.to_json()["num_threads"] == 1


def test_the_ceiling_is_that_of_the_quickest_sample() -> None:
    """Noise would lower the ceiling, and so flatter everything below it."""
    probe = CeilingProbe(torch.device("cpu"), ["float32"], small=True)
    times = [Sample(1.0), *[Sample(50.0)] * 2]
    noisy = Measured({"ceiling copy": times, "ceiling product float32": times})
    quiet = Measured({"ceiling copy": times[:1], "ceiling product float32": times[:1]})
    assert probe.read([noisy]) == probe.read([quiet])
    # 1 MiB read and written, and 64 x 64 x 64 products and sums, in a millisecond.
    assert probe.read([quiet]).bytes_per_s == pytest.approx(2 * 2**20 * 1e3)
    assert probe.read([quiet]).flops_per_s["float32"] == pytest.approx(2 * 64**3 * 1e3)


def test_reading_has_a_ceiling_of_its_own() -> None:
    """Of several ways to read, the quickest counts; passes that only read may beat the floor by
    copying, not that by reading."""
    probe = CeilingProbe(torch.device("cpu"), ["float32"], small=True)
    names = [variant.name for variant in probe.variants()]
    readings = [name for name in names if name.startswith("ceiling read ")]
    assert len(readings) > 1
    times = {name: [Sample(8.0)] for name in names}
    times[readings[-1]] = [Sample(1.0), Sample(4.0)]
    ceilings = probe.read([Measured(times)])
    # 1 MiB read in a millisecond, against 1 MiB read and written in eight.
    assert ceilings.read_bytes_per_s == pytest.approx(2**20 * 1e3)
    assert ceilings.bytes_per_s == pytest.approx(2**20 * 1e3 / 4)
    figures = floor_figures(Work(2**20, 0.0), "float32", 2.0, ceilings)
    assert (figures["x_floor"], figures["x_read_floor"]) == (0.5, 2.0)
    bound = floor_figures(Work(0.0, ceilings.flops_per_s["float32"]), "float32", 3e3, ceilings)
    assert bound["x_read_floor"] == bound["x_floor"] == 3.0


def test_all_rounds_together_count_by_how_long_they_take() -> None:
    measured = Measured(
        {"a": [Sample(1.0), Sample(9.0)], "b": [Sample(4.0), Sample(1.0)], "none": []}
    )
    assert measured.total_ratio("a", "b") == 2.0
    assert measured.total_ratio("a", "none") is None


def test_lines_are_set_against_those_of_their_group_only() -> None:
    lines = [
        Line("a: x", {"path": "a"}, group="x"),
        Line("b: x", {"path": "b"}, group="x"),
        Line("a: y", {"path": "a"}, group="y"),
    ]
    measured = Measured({"a: x": [Sample(1.0)], "b: x": [Sample(4.0)], "a: y": [Sample(9.0)]})
    probe = CeilingProbe(torch.device("cpu"), ["float32"], small=True)
    ceilings = probe.read([measure(probe.variants(), Schedule(num_rounds=1))])
    rows = line_rows(lines, measured, ceilings)
    assert [row["versus"] for row in rows] == [{"b": 0.25}, {"a": 4.0}, {}]
