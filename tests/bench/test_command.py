"""`nemodiff bench` for the engine: one report in three forms, one sentence for what is wrong."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from engine.bench import CASES
from engine.bench.__main__ import main
from engine.bench.options import SHAPE_NAMES
from engine.bench.plot import draw
from engine.bench.shapes import SHAPES
from engine.errors import EngineError

SMALL = ("--quick", "--device", "cpu", "--rounds", "1", "--paths", "fp32", "--no-transformers")
SIZES = ("--blocks", "4", "--rows", "1", "--cached", "8,24", "--modes", "verify,draft")


def nemodiff(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "engine", "bench", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


def test_the_command_writes_markdown_json_and_a_picture(qwen: Path, tmp_path: Path) -> None:
    json_path, png_path = tmp_path / "out.json", tmp_path / "out.png"
    outputs = ("--json", str(json_path), "--png", str(png_path))
    done = nemodiff("forward", "--model", str(qwen), *SMALL, *SIZES, *outputs)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("# nemodiff bench\n")
    assert "## Block forward" in done.stdout
    report = json.loads(json_path.read_text(encoding="utf-8"))
    assert {"format", "machine", "settings", "subjects", "peers", "ceilings", "cases"} <= set(
        report
    )
    assert {row["cached"] for row in report["cases"]["forward"]} == {8, 24}
    assert png_path.read_bytes().startswith(b"\x89PNG")
    assert str(tmp_path) not in done.stdout + json_path.read_text(encoding="utf-8")


def test_a_picture_of_nothing_says_so(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    report: dict[str, Any] = {"cases": {"threshold": []}}
    draw(report, tmp_path / "empty.png")
    assert (tmp_path / "empty.png").stat().st_size > 1000
    with pytest.raises(EngineError, match="cannot be drawn"):
        draw(report, tmp_path / "empty.words")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("forward", "--shape", "9b"), "Shape '9b' is not known"),
        (("completion", "--shape", "8b"), "needs a model"),
        (("forward", "--paths", "fp9"), "Path 'fp9' is not known"),
        (("forward", "--paths", "model=x"), "no option of a path"),
        (("forward", "--device", "cuda:99", "--no-transformers"), "Device cuda:99"),
        (("forward", "--model", "/nowhere", "--no-transformers"), "/nowhere"),
        (("forward", "--json", "/nowhere/a.json"), "its folder does not exist"),
    ],
)
def test_what_does_not_go_is_one_sentence(
    arguments: tuple[str, ...], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 1
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.startswith("nemodiff bench: ")
    assert told in output.err
    assert output.err.count("\n") == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ("forward", "--blocks", "0"),
        ("forward", "--modes", "verify,all"),
        ("completion", "--thresholds", "2"),
        ("contention", "--neighbours", "1000"),
        ("forward", "--minutes", "-1"),
        ("forward", "--rounds", "many"),
    ],
)
def test_a_wrong_value_is_named(
    arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert arguments[1] in capsys.readouterr().err


def test_bench_knows_the_cases_of_both(qwen: Path) -> None:
    told = nemodiff("--help")
    assert told.returncode == 0
    assert all(name in told.stdout for name in ("lsp", "soak", *CASES))
    assert nemodiff("nothing").returncode == 2
    assert "--blocks" in nemodiff("forward", "--help").stdout


def test_the_names_of_shapes_are_known_without_torch() -> None:
    assert tuple(SHAPES) == SHAPE_NAMES
    code = "import engine.bench.options, sys\nprint('torch' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert run.stdout == "False\n"


def test_the_engines_bench_imports_nothing_of_the_language_server() -> None:
    code = (
        "import engine.bench.run, engine.bench.report, engine.bench.plot, sys\n"
        "print([n for n in sys.modules if n.partition('.')[0] in ('nemodiff_lsp', 'pygls')])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert run.stdout == "[]\n"
