"""Whole runs of `nemodiff eval infilling` against a fake engine, over real HTTP."""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.cli import evaluate
from engine.errors import EngineError
from engine.evaluation import own_engine as own_engine_module
from engine.messages.completion import CompletionRequest

from .fake_engine import FakeEngine, serving
from .rows import NUM_ROWS_PER_TASK, NUM_TASKS, all_rows, write

NUM_ROWS = NUM_TASKS * NUM_ROWS_PER_TASK
CANARY = "canary_in_a_completion"


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A folder with a short path: pytest's own may exceed the limit of Unix sockets."""
    with tempfile.TemporaryDirectory(prefix="nd-") as folder:
        yield Path(folder)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """The rows, each prompt telling its task, so that a fake engine can know the answer."""
    rows = [
        {**each, "prompt": f"{each['prompt']}    # {each['canonical_solution'].strip()}\n"}
        for each in all_rows()
    ]
    return write(tmp_path / "small.jsonl.gz", rows)


def _right(request: CompletionRequest) -> str:
    return "    " + request.prompt.splitlines()[-1].split("# ")[1] + "\n"


def _right_in_auto(request: CompletionRequest) -> str:
    """AR is right on even tasks only."""
    answer = _right(request)
    return answer if request.mode == "auto" or int(answer[-2]) % 2 == 0 else f"    {CANARY}\n"


def _run(*arguments: object) -> int:
    parser = argparse.ArgumentParser()
    evaluate.add_parser(parser.add_subparsers())
    args = parser.parse_args(["eval", "infilling", *(str(each) for each in arguments)])
    code: int = args.run(args)
    return code


def _report(out: Path) -> dict[str, Any]:
    report: dict[str, Any] = json.loads(out.read_text())
    return report


def test_a_whole_run(
    data: Path, tmp_path: Path, short_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    engine, out = FakeEngine(_right_in_auto), tmp_path / "report.json"
    with serving(engine, short_path / "s") as path:
        assert _run("--data", data, "--engine-socket", path, "--out", out) == 0
    report = _report(out)
    assert report["gold"] == {"num_rows": NUM_ROWS, "pass_at_1": 1.0, "not_passing": {}}
    ar, auto = report["modes"]
    assert (ar["mode"], ar["pass_at_1"]["value"]) == ("ar", 0.5)
    assert (auto["mode"], auto["pass_at_1"]["value"]) == ("auto", 1.0)
    assert auto["exact_match"] == {"value": 1.0, "low": 1.0, "high": 1.0}
    assert ar["tokens_per_forward"]["value"] == 1.0
    assert auto["tokens_per_forward"]["value"] > 1.9
    (paired,) = report["comparisons"]
    assert paired["pass_at_1_difference"]["value"] == 0.5
    assert paired["num_only_other_passes"] == NUM_ROWS // 2
    assert paired["num_different_texts"] == NUM_ROWS // 2
    assert report["settings"]["engine"]["model"] == "fake"
    shown = capsys.readouterr()
    assert shown.out.startswith("## small: 12 of 12 rows, 4 base tasks")
    assert "completions: 24 of 24" in shown.err
    # The user's own file of rows holds completions; what is shown or reported never does.
    assert CANARY in (tmp_path / "report.rows.jsonl").read_text()
    assert CANARY not in shown.out + shown.err + out.read_text()


def test_what_is_asked_for(data: Path, short_path: Path) -> None:
    engine = FakeEngine(_right)
    with serving(engine, short_path / "s") as path:
        flags = ("--modes", "diffusion,ar", "--limit", 2, "--max-tokens", 9, "--no-stop-rules")
        assert _run("--data", data, "--engine-socket", path, *flags) == 0
    assert [each.mode for each in engine.requests] == ["diffusion", "ar"] * 2
    # Evenly spaced: the first row and the one in the middle, which is of task 2.
    assert ["x + 0" in each.prompt for each in engine.requests] == [True, True, False, False]
    assert ["x + 2" in each.prompt for each in engine.requests] == [False, False, True, True]
    for request in engine.requests:
        assert request.suffix == "\n# end\n"
        assert (request.max_tokens, request.stop_rules) == (9, False)
        assert (request.temperature, request.n) == (0.0, 1)
        assert request.deadline_ms is None
        assert request.document is None


def test_an_interrupted_run_goes_on_where_it_ended(
    data: Path, tmp_path: Path, short_path: Path
) -> None:
    out, flags = tmp_path / "report.json", ("--modes", "ar,auto")
    broken = FakeEngine(_right, refuse_after=7)
    with (
        serving(broken, short_path / "a") as path,
        pytest.raises(EngineError, match=r"Out of cheese; the rows so far are in .*--resume"),
    ):
        _run("--data", data, "--engine-socket", path, "--out", out, *flags)
    assert not out.exists()
    whole = FakeEngine(_right)
    with serving(whole, short_path / "b") as path:
        _run("--data", data, "--engine-socket", path, "--out", out, *flags, "--resume")
    assert len(broken.requests) == 7
    assert len(whole.requests) == 2 * NUM_ROWS - 7
    asked = [(each.mode, each.prompt) for each in broken.requests + whole.requests]
    assert len(set(asked)) == 2 * NUM_ROWS
    assert [each["num_rows"] for each in _report(out)["modes"]] == [NUM_ROWS, NUM_ROWS]


def test_more_rows_and_modes_may_be_added_later(
    data: Path, tmp_path: Path, short_path: Path
) -> None:
    engine, out = FakeEngine(_right), tmp_path / "report.json"
    with serving(engine, short_path / "s") as path:
        flags = ("--data", data, "--engine-socket", path, "--out", out, "--resume")
        _run(*flags, "--modes", "ar", "--limit", 4)
        assert len(engine.requests) == 4
        _run(*flags, "--modes", "ar,quad_spec")
    assert len(engine.requests) == 2 * NUM_ROWS
    assert [each["mode"] for each in _report(out)["modes"]] == ["ar", "quad_spec"]


def test_a_finished_run_needs_no_engine_to_be_reported_again(
    data: Path,
    tmp_path: Path,
    short_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "report.json"
    with serving(FakeEngine(_right), short_path / "s") as path:
        _run("--data", data, "--engine-socket", path, "--out", out)
    first, shown = _report(out), capsys.readouterr().out
    monkeypatch.setattr(own_engine_module, "own_engine", None)
    assert _run("--data", data, "--out", out, "--resume") == 0
    assert _report(out) == first
    assert capsys.readouterr().out == shown


def test_rows_of_another_engine_are_not_mixed_in(
    data: Path, tmp_path: Path, short_path: Path
) -> None:
    out = tmp_path / "report.json"
    with serving(FakeEngine(_right), short_path / "a") as path:
        _run("--data", data, "--engine-socket", path, "--out", out, "--limit", 2)
    other = FakeEngine(_right, dtype="bfloat16")
    flags = ("--data", data, "--out", out, "--limit", 3, "--resume")
    with serving(other, short_path / "b") as path, pytest.raises(EngineError) as caught:
        _run(*flags, "--engine-socket", path)
    assert "bfloat16" in str(caught.value)
    assert "--resume" not in str(caught.value)
    assert not other.requests


def test_other_settings_are_refused_before_an_engine_is_started(
    data: Path, tmp_path: Path, short_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "report.json"
    with serving(FakeEngine(_right), short_path / "s") as path:
        _run("--data", data, "--engine-socket", path, "--out", out)
    monkeypatch.setattr(own_engine_module, "own_engine", None)
    with pytest.raises(EngineError, match=r"max_tokens \(64, now 9\)"):
        _run("--data", data, "--out", out, "--resume", "--max-tokens", 9)


def test_wrong_usage(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _run("--data", data, "--resume") == 2
    assert "--resume needs --out" in capsys.readouterr().err
    cases = [
        (("--modes", "ar,fast"), "'fast' is none of"),
        (("--modes", "ar,ar"), "names a mode twice"),
        (("--limit", "0"), "not a whole number above 0"),
        (("--max-tokens", "5000"), "above the limit of 4096"),
        (("--model", "m", "--engine-socket", "s"), "not allowed with argument"),
    ]
    for flags, message in cases:
        with pytest.raises(SystemExit) as caught:
            _run("--data", data, *flags)
        assert caught.value.code == 2
        assert message in capsys.readouterr().err


def test_errors_before_any_work(data: Path, tmp_path: Path, short_path: Path) -> None:
    with pytest.raises(EngineError, match="No engine listens"):
        _run("--data", data, "--engine-socket", short_path / "nobody")
    with pytest.raises(EngineError, match="does not exist"):
        _run("--data", data, "--out", tmp_path / "no" / "report.json")
    with pytest.raises(EngineError, match="is a folder"):
        _run("--data", data, "--out", tmp_path)
    (tmp_path / "report.rows.jsonl").write_text("mine\n")
    with pytest.raises(EngineError, match="holds results already"):
        _run("--data", data, "--out", tmp_path / "report.json")
    assert (tmp_path / "report.rows.jsonl").read_text() == "mine\n"
