"""The language server is measured by its own program, which leaves nothing behind."""

from __future__ import annotations

import subprocess
import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engine.bench import lsp_case, run
from engine.bench.lsp_case import LspLoad, lsp_rows
from engine.bench.options import build_parser
from engine.bench.peers import PeerMissing
from engine.bench.plan import plan_of
from engine.bench.report import markdown
from engine.bench.run import run_bench
from engine.config import EngineConfig
from nemodiff_lsp.bench import __main__ as program

LOAD = LspLoad(sittings=2, minutes=0.5, num_lines=7)
COMMON = EngineConfig(model="some-model", device="cpu")
FAKE = """
import json, sys
times = {"num": 3, "p50": 1.0, "p90": 2.0, "p99": 3.0}
names = ["change_and_request_with_engine", "engine_without_server", "typed_through"]
figures = {f"{name}_ms": times for name in names}
names = ["latency_ms", "latency_with_text_ms", "latency_without_forward_ms"]
figures["variants"] = {"full": {name: times for name in names}}
json.dump(figures, open(sys.argv[sys.argv.index("--out") + 1], "w"))
"""
STOPPED = """
import signal, sys, time
try:
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    open(sys.argv[1], "w").write("started")
    time.sleep(600)
finally:
    open(sys.argv[1], "w").write("ended in order")
"""


def test_the_figures_become_rows(tmp_path: Path) -> None:
    fake = tmp_path / "fake.py"
    fake.write_text(FAKE)
    rows = lsp_rows(COMMON, LOAD, [str(fake)])
    assert len(rows) == 6
    assert rows[0] == {
        "what": "keystroke to reply, real engine",
        "p50_ms": 1.0,
        "p90_ms": 2.0,
        "p99_ms": 3.0,
        "num": 3,
    }


def test_a_program_that_fails_is_told_by_its_last_sentence(tmp_path: Path) -> None:
    fake = tmp_path / "fake.py"
    fake.write_text("import sys\nsys.exit('No engine today.')")
    with pytest.raises(PeerMissing, match=r"^left out: No engine today\.$"):
        lsp_rows(COMMON, LOAD, [str(fake)])


def test_what_is_asked_for_are_options_of_the_program(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Sequence[str]] = []
    times = {"num": 0, "p50": None, "p90": None, "p99": None}

    def noted(arguments: Sequence[str]) -> dict[str, Any]:
        asked.append(arguments)
        anything: dict[str, Any] = defaultdict(lambda: times)
        return {"variants": {"full": anything}} if len(asked) == 1 else anything

    monkeypatch.setattr(lsp_case, "_figures", noted)
    lsp_rows(COMMON, LOAD, ["program"])
    trace, overhead = (program.build_parser().parse_args(each[1:]) for each in asked)
    assert (trace.engine, trace.model, trace.device) == ("real", "some-model", "cpu")
    assert (trace.variants, trace.sittings, trace.minutes) == (["full"], 2, 0.5)
    assert (overhead.case, overhead.rounds) == ("overhead", 7)


@pytest.mark.skipif(sys.platform == "win32", reason="needs signals")
def test_an_interrupt_ends_the_program_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only so do the engines end that it has started."""
    mark, fake = tmp_path / "mark", tmp_path / "fake.py"
    fake.write_text(STOPPED)

    def interrupted(self: object, timeout: float) -> tuple[str, str]:
        while not mark.exists():
            pass
        raise KeyboardInterrupt

    monkeypatch.setattr(subprocess.Popen, "communicate", interrupted)
    with pytest.raises(KeyboardInterrupt):
        lsp_case._run([sys.executable, str(fake), str(mark)])
    assert mark.read_text() == "ended in order"


def test_all_has_the_language_server_or_tells_why_not(
    qwen: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    args = ["--quick", "--device", "cpu", "--rounds", "1", "--prompts", "1", "--paths", "fp32"]
    args += ["--model", str(qwen)]
    assert "lsp" in plan_of(build_parser().parse_args(["all", *args])).cases
    small = replace(plan_of(build_parser().parse_args(["cancel", *args])), cases=("cancel", "lsp"))

    def missing(*given: object) -> list[dict[str, Any]]:
        raise PeerMissing("left out: not today.")

    monkeypatch.setattr(run, "lsp_rows", missing)
    report = run_bench(small)
    assert "- language server: left out: not today." in markdown(report)
    row = {"what": "typed", "p50_ms": 1.0, "p90_ms": 2.0, "p99_ms": 3.0, "num": 9}
    monkeypatch.setattr(run, "lsp_rows", lambda common, load: [row])
    report = run_bench(small)
    assert report["cases"]["lsp"] == [row]
    assert set(report["spent_s"]) == {"loading", "lsp", "cancel"}
    assert "| typed | 1 | 2 | 3 | 9 |" in markdown(report)
    assert "- Seconds spent: lsp " in markdown(report)
