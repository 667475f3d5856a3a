"""Busy processes are busy when they are told to, and never outlive the measurement."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, cast

import psutil
import pytest

from engine.bench.contention_case import add_slow_downs, beside_busy
from engine.bench.neighbours import Neighbours, default_counts
from engine.bench.options import build_parser
from engine.bench.plan import Plan, plan_of
from engine.bench.report import markdown
from engine.bench.rounds import Measured, Schedule, Variant, measure
from engine.bench.run import run_bench
from engine.bench.timing import Sample
from engine.errors import EngineError

PATIENCE_S = 60.0


def until(is_so: Callable[[], bool]) -> None:
    end_s = time.monotonic() + PATIENCE_S
    while not is_so():
        assert time.monotonic() < end_s
        time.sleep(0.01)


def processor_s(pid: int) -> float:
    return psutil.Process(pid).cpu_times().user


def is_gone(pid: int) -> bool:
    """A zombie, which only its parent can remove, has ended."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def plan(*options: str) -> Plan:
    args = ["contention", "--quick", "--device", "cpu", "--rounds", "2", "--prompts", "1"]
    args += ["--no-transformers", "--paths", "fp32", "--tokens", "3", "--cached", "16"]
    return plan_of(build_parser().parse_args([*args, *options]))


def test_as_many_as_told_are_busy() -> None:
    with Neighbours(2) as neighbours:
        first, second = neighbours.pids
        neighbours.keep_busy(2)
        neighbours.keep_busy(1)
        assert neighbours.num_busy == 1
        before, idle_before = processor_s(first), processor_s(second)
        until(lambda: processor_s(first) > before + 0.3)
        assert processor_s(second) < idle_before + 0.1
        neighbours.keep_busy(2)
        until(lambda: processor_s(second) > idle_before + 0.3)
        neighbours.keep_busy(0)
    assert is_gone(first)
    assert is_gone(second)


def test_they_end_with_a_failure() -> None:
    with pytest.raises(ValueError, match="broken"), Neighbours(2) as neighbours:
        neighbours.keep_busy(2)
        raise ValueError("broken")
    assert all(is_gone(pid) for pid in neighbours.pids)


@pytest.mark.skipif(os.name != "posix", reason="needs signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_they_end_with_who_started_them(number: signal.Signals) -> None:
    code = (
        "import sys, time\n"
        "from engine.bench.neighbours import Neighbours\n"
        "with Neighbours(2) as neighbours:\n"
        "    neighbours.keep_busy(1)\n"
        "    print(*neighbours.pids, flush=True)\n"
        "    time.sleep(600)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
        # Whoever started the tests in a shell's background has made them ignore it.
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    ) as parent:
        try:
            assert parent.stdout is not None
            pids = [int(pid) for pid in parent.stdout.readline().split()]
            assert len(pids) == 2
            # Ctrl-C reaches the whole group, the neighbours too.
            (os.killpg if number == signal.SIGINT else os.kill)(parent.pid, number)
            until(lambda: all(is_gone(pid) for pid in pids))
            parent.wait(PATIENCE_S)
        finally:
            parent.kill()


def test_one_that_has_ended_is_one_sentence() -> None:
    with Neighbours(1) as neighbours:
        psutil.Process(neighbours.pids[0]).kill()
        until(lambda: is_gone(neighbours.pids[0]))
        with pytest.raises(EngineError, match="ended before its time"):
            neighbours.keep_busy(1)


def test_every_call_has_its_own_number_of_neighbours() -> None:
    class Recorded:
        num_busy = 0

        def keep_busy(self, num: int) -> None:
            self.num_busy = num

    recorded, seen = Recorded(), list[tuple[str, int]]()

    def variant(num: int) -> Variant:
        def sample(number: int) -> Sample:
            seen.append((f"{num} busy", recorded.num_busy))
            return Sample(1.0)

        inner = Variant("pass", sample, warm_calls=1)
        return beside_busy(inner, f"pass, {num} busy", cast(Neighbours, recorded), num)

    measured = measure([variant(num) for num in (0, 1, 2)], Schedule(num_rounds=4))
    # Warm calls too; the discarded round has none.
    assert len(seen) == 3 * (1 + 4 * 2)
    assert all(name == f"{num} busy" for name, num in seen)
    assert len(set(measured.order)) > 1


def test_a_slow_down_is_that_of_one_round() -> None:
    measured = Measured(
        {"a, 0 busy": [Sample(1.0), Sample(10.0)], "a, 2 busy": [Sample(3.0), Sample(30.0)]}
    )
    rows: list[dict[str, Any]] = [{"name": name} for name in measured.samples]
    add_slow_downs(rows, measured)
    assert [row["slow_down"] for row in rows] == [1.0, 3.0]


def test_the_case_sets_each_number_against_none(qwen: Path) -> None:
    report = run_bench(plan("--model", str(qwen), "--neighbours", "1"))
    rows = report["cases"]["contention"]
    assert {(row["work"], row["busy"]) for row in rows} == {
        (work, num) for work in ("pass of 8 tokens", "completion of 3 tokens") for num in (0, 1)
    }
    assert all(row["slow_down"] == 1.0 for row in rows if not row["busy"])
    assert all(row["slow_down"] > 0 and row["num_samples"] == 2 for row in rows)
    assert "| x quiet |" in markdown(report)
    mine = psutil.Process().children(recursive=True)
    assert not [child for child in mine if "busy_process" in " ".join(child.cmdline())]


def test_none_is_always_among_the_numbers() -> None:
    asked = build_parser().parse_args(["contention", "--device", "cpu", "--neighbours", "4,2"])
    assert plan_of(asked).neighbours == (0, 4, 2)
    asked = build_parser().parse_args(["all", "--quick", "--device", "cpu", "--neighbours", "1,2"])
    assert plan_of(asked).neighbours == (0, 1, 2)
    counts = default_counts()
    quick = build_parser().parse_args(["all", "--quick", "--device", "cpu"])
    assert plan_of(quick).neighbours == (0, counts[-1])
    assert counts[0] == 0
    assert list(counts) == sorted(set(counts))
    assert len(counts) > 1
