"""Every case has a picture and a table; costs beside one token are quotients within rounds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from engine.bench.options import build_parser
from engine.bench.panels import PANELS
from engine.bench.plan import plan_of
from engine.bench.plot import draw, panels_of
from engine.bench.relative import add_relative, relative_cells
from engine.bench.report import markdown
from engine.bench.rounds import Measured
from engine.bench.run import run_bench
from engine.bench.timing import Sample

ARGUMENTS = ("--quick", "--device", "cpu", "--rounds", "1", "--prompts", "1", "--paths", "fp32")


def titles(report: dict[str, Any]) -> list[str]:
    return [panel.title for panel in panels_of(report)]


@pytest.mark.parametrize(
    ("case", "options", "expected"),
    [
        (
            "forward",
            ("--blocks", "4,1", "--rows", "1", "--cached", "8,24"),
            [
                "passes on the roofline",
                "one pass against the cached length",
                "one pass against its tokens",
            ],
        ),
        ("forward", ("--blocks", "4", "--rows", "1", "--cached", "8"), ["passes on the roofline"]),
        ("prefill", ("--lengths", "9,20"), ["prefill of a cold prompt"]),
        (
            "completion",
            ("--tokens", "2,4", "--thresholds", "0.5"),
            ["time to a completion", "tokens per forward against the threshold"],
        ),
        ("compare", ("--tokens", "3"), ["as many tokens on the same prompts"]),
        (
            "contention",
            ("--tokens", "3", "--cached", "8", "--neighbours", "1"),
            ["beside busy processes"],
        ),
        ("memory", (), ["memory by stage"]),
    ],
)
def test_each_case_is_drawn(
    case: str, options: tuple[str, ...], expected: list[str], qwen: Path, tmp_path: Path
) -> None:
    pytest.importorskip("matplotlib")
    args = [case, *ARGUMENTS, "--no-transformers", "--model", str(qwen), *options]
    report = run_bench(plan_of(build_parser().parse_args(args)))
    assert titles(report) == expected
    draw(report, tmp_path / "picture.png")
    assert (tmp_path / "picture.png").stat().st_size > 10_000
    assert markdown(report).count("\n## ") == len(report["cases"])


def test_cases_without_rounds_are_drawn_too(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    cancel = {"path": "p", "phase": "decode", "median_ms": 1.0, "p90_ms": 2.0, "max_ms": 3.0}
    never = {**cancel, "median_ms": None, "p90_ms": None, "max_ms": None}
    typed = {"what": "typed", "p50_ms": 1.0, "p90_ms": 2.0, "p99_ms": 3.0, "num": 3}
    kernel = {"kernel": "norm", "shape": "8b", "tokens": 1, "ratio": 0.5}
    cases = {"cancel": [cancel, never], "lsp": [typed, {**typed, "p50_ms": None}]}
    report = {"cases": {**cases, "kernels": [kernel, {**kernel, "ratio": None}]}}
    assert titles(report) == [
        "cancellation",
        "kernels beside plain torch, all shapes",
        "the language server end to end",
    ]
    draw(report, tmp_path / "picture.png")
    assert titles({"cases": {"cancel": [never]}}) == []


def test_every_case_has_a_panel() -> None:
    cases = set(plan_of(build_parser().parse_args(["all", "--device", "cpu"])).cases)
    assert cases <= {panel.case for panel in PANELS}


def row(mode: str, block: int, rows: int = 1, cached: int = 8, path: str = "a") -> dict[str, Any]:
    name = f"{path} {mode} {block} {rows} {cached}"
    return {"name": name, "path": path, "mode": mode, "block": block, "rows": rows} | {
        "cached": cached
    }


def test_the_cost_of_a_pass_is_told_beside_one_token() -> None:
    rows = [row("verify", 1), row("verify", 8), row("draft", 8), row("verify", 8, rows=2)]
    rows += [row("verify", 1, path="b"), row("verify", 8, path="b"), row("verify", 8, cached=99)]
    times = {each["name"]: [Sample(2.0), Sample(20.0)] for each in rows}
    times["a verify 1 1 8"] = [Sample(1.0), Sample(10.0)]
    times["a draft 8 1 8"] = [Sample(3.0), Sample(30.0)]
    add_relative(rows, Measured(times))
    assert [each["relative"] for each in rows] == [1.0, 2.0, 3.0, 2.0, 1.0, 1.0, 1.0]
    # Behind 99 tokens nothing smaller was measured.
    assert rows[-1]["relative_to"] == 8
    found = relative_cells(rows)
    assert found is not None
    head, lines = found
    assert head == ["mode", "rows", "block", "tokens", "a", "b"]
    assert lines == [
        ["verify", 1, 1, 1, 1.0, 1.0],
        ["verify", 1, 8, 8, 2.0, 1.0],
        ["verify", 2, 8, 16, 2.0, None],
        ["draft", 1, 8, 8, 3.0, None],
    ]


def test_one_pass_alone_has_no_relative_cost() -> None:
    rows = [row("draft", 8)]
    add_relative(rows, Measured({rows[0]["name"]: [Sample(1.0)]}))
    assert "relative" not in rows[0]
    assert relative_cells(rows) is None
