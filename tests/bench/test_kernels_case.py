"""Case kernels: every kernel is checked and set beside its twin; without a GPU nothing is timed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

pytest.importorskip("triton", reason="triton is not installed")

KERNELS = {
    "rms_norm",
    "rope_store",
    "swiglu",
    "add_low_rank",
    "survey",
    "threshold_commit",
    "attend_split",
    "quantised_linear int8",
    "quantised_linear int4",
    "quantised_linear fp8",
}
# Run where kernels are interpreted; both a wrong kernel and a wrong row of the table must be told.
TIMED = """
import torch
from engine.bench import kernels_case as case
from engine.bench.report import markdown
from engine.kernels.interpreter import mend_interpreter

mend_interpreter()
case._CALLS = 1
plan = case.KernelsPlan(torch.device("cpu"), (case.TINY,), (3,), num_rounds=1)
report = case.kernels_report(plan)
rows = report["cases"]["kernels"]
print(sorted(row["kernel"] for row in rows))
print(all(row[key] > 0 for row in rows for key in ("median_ms", "twin_median_ms", "ratio")))
print(all(row[key] > 0 for row in rows for key in ("num_bytes", "floor_ms", "x_floor")))
print(markdown(report).count("| tiny | 3 | yes |") == len(rows))

from engine.bench import kernel_works
kernel_works.swiglu = lambda gate_up: gate_up[:, : gate_up.shape[1] // 2]
try:
    case.kernels_report(plan)
except case.EngineError as error:
    print(error)
"""


def run_python(*arguments: str, interpret: bool) -> subprocess.CompletedProcess[str]:
    env = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    if interpret:
        env["TRITON_INTERPRET"] = "1"
    command = [sys.executable, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, env=env)


def test_interpret_checks_every_kernel(tmp_path: Path) -> None:
    path = tmp_path / "kernels.json"
    words = ("-m", "engine.bench", "kernels", "--interpret", "--json", str(path))
    done = run_python(*words, interpret=False)
    assert done.returncode == 0, done.stderr
    rows = json.loads(path.read_text(encoding="utf-8"))["cases"]["kernels"]
    assert {row["kernel"] for row in rows} == KERNELS
    assert all(row["equal"] == "yes" for row in rows)
    assert "## Each kernel beside plain torch" in done.stdout


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine can time kernels")
@pytest.mark.parametrize("device", ["auto", "cuda", "cpu"])
def test_without_a_gpu_nothing_is_timed(device: str, capsys: pytest.CaptureFixture[str]) -> None:
    from engine.bench.__main__ import main

    assert main(["kernels", "--device", device]) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.startswith("nemodiff bench: Kernels are timed on a GPU only")
    assert output.err.count("\n") == 1


def test_a_device_that_is_no_device_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    from engine.bench.__main__ import main

    assert main(["kernels", "--device", "toaster"]) == 1
    assert "Device toaster is not known" in capsys.readouterr().err


def test_times_floors_and_ratios_and_no_time_of_a_wrong_kernel() -> None:
    """The way a GPU goes, without its graphs."""
    done = run_python("-c", TIMED, interpret=True)
    assert done.returncode == 0, done.stderr[-2000:]
    lines = done.stdout.splitlines()
    assert lines[0] == str(sorted(KERNELS))
    assert lines[1:4] == ["True"] * 3
    assert lines[4].startswith("Kernel swiglu is not equal to its twin (shape tiny, 3 token(s))")


@pytest.mark.gpu
def test_every_kernel_is_timed_on_a_gpu() -> None:
    from engine.bench.kernels_case import KERNEL_SHAPES, KernelsPlan, kernels_report

    plan = KernelsPlan(torch.device("cuda"), KERNEL_SHAPES[:1], (1, 5), num_rounds=1)
    rows = kernels_report(plan)["cases"]["kernels"]
    assert {row["kernel"] for row in rows} == KERNELS
    assert all(row["median_ms"] > 0 and row["ratio"] > 0 for row in rows)
