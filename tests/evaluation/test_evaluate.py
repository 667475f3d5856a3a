"""Whole runs of `nemodiff eval` against fake engines, over real HTTP."""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from engine.cli import evaluate
from engine.errors import EngineError
from engine.evaluation import own_engine as own_engine_module
from engine.messages.address import EngineAddress
from engine.messages.completion import CompletionRequest

from .fake_engine import FakeEngine, serving
from .rows import NUM_ROWS_PER_TASK, NUM_TASKS, all_rows, fresh_rows, silent_rows, write

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


def _run(*arguments: object, suite: str = "infilling") -> int:
    parser = argparse.ArgumentParser()
    evaluate.add_parser(parser.add_subparsers())
    args = parser.parse_args(["eval", suite, *(str(each) for each in arguments)])
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
    assert [line["label"] for line in report["configurations"]] == ["ar", "auto"]
    ar, auto = (line["figures"] for line in report["configurations"])
    assert ar["pass_at_1"]["value"] == 0.5
    assert auto["pass_at_1"]["value"] == 1.0
    assert auto["exact_match"] == {"value": 1.0, "low": 1.0, "high": 1.0, "num_rows": NUM_ROWS}
    assert ar["tokens_per_forward"]["value"] == 1.0
    assert auto["tokens_per_forward"]["value"] > 1.9
    assert ar["acceptance_length"] is None
    assert auto["acceptance_length"]["value"] == 3.0
    assert auto["parse_rate"]["value"] == 1.0
    (paired,) = report["comparisons"]
    assert paired["difference"]["value"] == 0.5
    assert paired["num_only_other"] == NUM_ROWS // 2
    assert paired["num_different_texts"] == NUM_ROWS // 2
    assert report["engines"]["engine"]["model"] == "fake"
    shown = capsys.readouterr()
    assert shown.out.startswith("## infilling, small: 12 of 12 rows, 4 clusters")
    assert "completions: 24 of 24" in shown.err
    # The user's own file of rows holds completions; what is shown or reported never does.
    assert CANARY in (tmp_path / "report.rows.jsonl").read_text()
    assert CANARY not in shown.out + shown.err + out.read_text()
    assert (tmp_path / "report.md").read_text() == shown.out
    assert (tmp_path / "report.png").exists()


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
        assert request.gate
        assert request.deadline_ms is None
        assert request.document is None


def test_configurations_may_share_the_prefill_of_a_row(
    fresh: Path, short_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    engine = FakeEngine(_first_line)
    with serving(engine, short_path / "s") as path:
        flags = ("--data", fresh, "--engine-socket", path, "--share-prefill")
        _run(*flags, "--limit", 2, suite="fresh")
    first, second, *others = [each.document for each in engine.requests]
    assert first is not None
    assert first == second
    assert first not in others
    assert "their times cannot be compared" in capsys.readouterr().out


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
    assert [each["num_rows"] for each in _report(out)["configurations"]] == [NUM_ROWS, NUM_ROWS]


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
    assert [each["mode"] for each in _report(out)["configurations"]] == ["ar", "quad_spec"]


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
    with pytest.raises(EngineError, match=r"max_tokens \(64, now 9\), gate \(True, now False\)"):
        _run("--data", data, "--out", out, "--resume", "--max-tokens", 9, "--no-gate")


def test_wrong_usage(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _run("--data", data, "--resume") == 2
    assert "--resume needs --out" in capsys.readouterr().err
    assert _run("--data", data, "--out", tmp_path / "report.md") == 2
    assert "--out names the JSON report; .md is written" in capsys.readouterr().err
    assert _run("--data", data, "--engine-socket", "s", "--causal-adapter", "none") == 2
    assert "--causal-adapter is for an engine of its own" in capsys.readouterr().err
    cases = [
        (("--modes", "ar,fast"), "'fast' is none of"),
        (("--modes", "ar,ar"), "names a mode twice"),
        (("--modes", "ar@0.5"), "only diffusion takes a threshold"),
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


def _cut_gold(request: CompletionRequest) -> str:
    """Right on rows of kind line in any mode; `ar` says nothing elsewhere, `auto` says too much."""
    return "" if request.mode == "ar" else "1 + 2 + 3"


def test_fresh_rows_are_judged_by_their_text(tmp_path: Path, short_path: Path) -> None:
    data = write(tmp_path / "fresh.jsonl.gz", fresh_rows())
    engine, out = FakeEngine(_cut_gold), tmp_path / "report.json"
    modes = ("--modes", "ar,diffusion@0.5,diffusion@0.9")
    with serving(engine, short_path / "s") as path:
        _run("--data", data, "--engine-socket", path, "--out", out, *modes, suite="fresh")
    asked = {(each.mode, each.confidence_threshold) for each in engine.requests}
    assert asked == {("ar", None), ("diffusion", 0.5), ("diffusion", 0.9)}
    report = _report(out)
    labels = [line["label"] for line in report["configurations"]]
    assert labels == ["ar", "diffusion@0.5", "diffusion@0.9"]
    ar, half, _ = report["configurations"]
    assert ar["figures"]["silence_rate"]["value"] == 1.0
    assert ar["figures"]["exact_match"]["value"] == 0.0
    assert half["figures"]["pass_at_1"] is None
    assert half["figures"]["edit_similarity"]["value"] > 0.2
    # "1 + 2 + 3" goes on behind "1 + 2", which is the gold text of one package's lines.
    assert half["by_kind"]["line"]["figures"]["overrun_rate"]["value"] == 1 / NUM_TASKS
    assert half["by_kind"]["expression"]["figures"]["overrun_rate"]["value"] == 0.0
    assert half["by_language"]["go"]["num_clusters"] == NUM_TASKS
    assert report["headline"] == "exact_match_trimmed"
    assert report["sandbox"] is None


def test_silent_rows_are_judged_by_saying_nothing(
    tmp_path: Path, short_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write(tmp_path / "silent.jsonl.gz", silent_rows())
    engine, out = FakeEngine(_cut_gold, features=lambda text: {"a": 1.0}), tmp_path / "report.json"
    with serving(engine, short_path / "s") as path:
        flags = ("--data", data, "--engine-socket", path, "--out", out, "--no-gate")
        _run(*flags, suite="silent")
    assert not any(each.gate for each in engine.requests)
    ar, auto = _report(out)["configurations"]
    assert ar["figures"]["silence_rate"]["value"] == 1.0
    assert auto["figures"]["silence_rate"]["value"] == 0.0
    assert auto["figures"]["exact_match"] is None
    assert "gate off." in capsys.readouterr().out
    rows = (tmp_path / "report.rows.jsonl").read_text()
    assert '"gate_features": {"a": 1.0}' in rows


def test_rows_of_another_suite_are_named(tmp_path: Path, data: Path) -> None:
    fresh = write(tmp_path / "fresh.jsonl", fresh_rows())
    with pytest.raises(EngineError, match="nemodiff eval fresh"):
        _run("--data", fresh, suite="silent")
    with pytest.raises(EngineError, match="the field entry_point is missing"):
        _run("--data", fresh)
    with pytest.raises(EngineError, match="the field cluster is missing"):
        _run("--data", data, suite="fresh")


@pytest.fixture
def starts(
    short_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[FakeEngine, FakeEngine], list[list[str]]]:
    """Stands in for engines of the run's own: one with adapters, one without.

    Returns the list of flags that each was started with, in order.
    """

    def install(adapted: FakeEngine, bare: FakeEngine) -> list[list[str]]:
        started: list[list[str]] = []

        @contextmanager
        def own_engine(arguments: Sequence[str]) -> Iterator[EngineAddress]:
            started.append(list(arguments))
            is_bare = "--causal-adapter=none" in arguments
            name = short_path / f"engine{len(started)}"
            with serving(bare if is_bare else adapted, name) as path:
                yield EngineAddress.parse(str(path))

        monkeypatch.setattr(own_engine_module, "own_engine", own_engine)
        return started

    return install


Starts = Callable[[FakeEngine, FakeEngine], list[list[str]]]
NUM_HOLES = len(fresh_rows())
ADAPTED = {"causal_adapter": "built in", "draft_adapter": "built in"}


@pytest.fixture
def fresh(tmp_path: Path) -> Path:
    return write(tmp_path / "fresh.jsonl.gz", fresh_rows())


def _first_line(request: CompletionRequest) -> str:
    """Right on the lines of the first of four packages, which is one row in eight."""
    return "1 + 0"


def _never_right(request: CompletionRequest) -> str:
    return "nothing"


def test_the_bare_base_is_the_first_line(
    starts: Starts, fresh: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    adapted, bare = FakeEngine(_first_line, facts=ADAPTED), FakeEngine(_never_right)
    started, out = starts(adapted, bare), tmp_path / "report.json"
    flags = ("--model", "m", "--threads", 1, "--modes", "auto", "--out", out)
    _run("--data", fresh, *flags, suite="fresh")
    assert started == [
        ["--model=m", "--threads=1"],
        ["--model=m", "--threads=1", "--causal-adapter=none", "--draft-adapter=none"],
    ]
    assert [each.mode for each in bare.requests] == ["ar"] * NUM_HOLES
    assert [each.mode for each in adapted.requests] == ["ar", "auto"] * NUM_HOLES
    report = _report(out)
    shares = {
        line["label"]: line["figures"]["exact_match"]["value"] for line in report["configurations"]
    }
    assert list(shares.items()) == [("ar, bare base", 0.0), ("ar", 1 / 8), ("auto", 1 / 8)]
    assert report["engines"]["bare base"]["causal_adapter"] is None
    assert "Bare base: the same without its adapters." in capsys.readouterr().out


def test_a_run_with_two_engines_goes_on_with_the_one_that_is_missing(
    starts: Starts, fresh: Path, tmp_path: Path
) -> None:
    adapted = FakeEngine(_never_right, facts=ADAPTED)
    broken, whole = FakeEngine(_never_right, refuse_after=5), FakeEngine(_never_right)
    out = tmp_path / "report.json"
    flags = ("--data", fresh, "--out", out, "--modes", "ar", "--resume")
    starts(adapted, broken)
    with pytest.raises(EngineError, match="go on with --resume"):
        _run(*flags, suite="fresh")
    started = starts(adapted, whole)
    _run(*flags, suite="fresh")
    assert len(started) == 1
    assert "--causal-adapter=none" in started[0]
    assert len(adapted.requests) == NUM_HOLES
    assert (len(broken.requests), len(whole.requests)) == (5, NUM_HOLES - 5)
    assert [line["num_rows"] for line in _report(out)["configurations"]] == [NUM_HOLES, NUM_HOLES]
    started = starts(adapted, whole)
    _run(*flags, suite="fresh")
    assert not started


def test_the_bare_base_must_be_of_the_same_model(
    starts: Starts, fresh: Path, tmp_path: Path
) -> None:
    adapted = FakeEngine(_never_right, facts=ADAPTED)
    starts(adapted, FakeEngine(_never_right, dtype="bfloat16"))
    with pytest.raises(EngineError, match=r"not the model .* dtype \(float32, now bfloat16\)"):
        _run("--data", fresh, "--modes", "ar", suite="fresh")
    starts(adapted, FakeEngine(_never_right, facts=ADAPTED))
    with pytest.raises(EngineError, match="has the causal adapter built in"):
        _run("--data", fresh, "--modes", "ar", suite="fresh")


@pytest.mark.parametrize("is_running", [True, False])
def test_the_bare_base_is_left_out_where_it_cannot_or_must_not_be_had(
    is_running: bool, starts: Starts, fresh: Path, short_path: Path, tmp_path: Path
) -> None:
    adapted, bare = FakeEngine(_never_right, facts=ADAPTED), FakeEngine(_never_right)
    started, out = starts(adapted, bare), tmp_path / "report.json"
    flags = ("--data", fresh, "--out", out, "--modes", "auto")
    if is_running:
        with serving(adapted, short_path / "running") as path:
            _run(*flags, "--engine-socket", path, suite="fresh")
    else:
        _run(*flags, "--no-bare-base", suite="fresh")
    assert not any("--causal-adapter=none" in arguments for arguments in started)
    assert not bare.requests
    report = _report(out)
    assert [line["label"] for line in report["configurations"]] == ["ar", "auto"]
    assert "The bare base was left out." in report["notes"]


def test_a_folder_of_an_adapter_means_the_same_to_the_engine(
    starts: Starts, fresh: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    started = starts(FakeEngine(_never_right), FakeEngine(_never_right))
    adapters = ("--causal-adapter", "a/b", "--draft-adapter", "none")
    _run("--data", fresh, "--modes", "ar", "--device", "cpu", *adapters, suite="fresh")
    (flags,) = started
    assert flags[1:] == [
        "--device=cpu",
        f"--causal-adapter={tmp_path / 'a/b'}",
        "--draft-adapter=none",
    ]
