"""RunLog: every result is on the disk at once, and a run goes on where it ended."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from engine.evaluation.records import (
    GoldResult,
    RecordsError,
    RowResult,
    RunLog,
    RunSettings,
)

SETTINGS = RunSettings(
    suite="infilling",
    data="single",
    data_sha256="00",
    max_tokens=64,
    stop_rules=True,
    gate=True,
    shares_prefill=False,
)
FACTS = {"model": "m", "causal_adapter": None}


def result(task_id: str, configuration: str = "ar", **changes: object) -> RowResult:
    base = RowResult(
        configuration=configuration,
        task_id=task_id,
        cluster=task_id.split("-")[0],
        language="python",
        kind="line",
        text="x",
        gold="x",
        verdict="passed",
        detail="",
        tokens=4,
        forwards=2,
        num_near_ties=0,
        num_cycles=0,
        num_drafted_tokens=0,
        num_accepted_tokens=0,
        gated=False,
        gate_features={},
        wall_ms=10.0,
        engine_ms=9.0,
        finish_reason="stop",
        decoding_mode=configuration,
        route="fim",
    )
    return dataclasses.replace(base, **changes)  # type: ignore[arg-type]


def _filled(path: Path) -> None:
    with RunLog.create(path) as log:
        log.begin(SETTINGS)
        log.begin_engine("engine", FACTS)
        log.add_gold(GoldResult("1-a", "1", "passed", ""))
        log.add_row(result("1-a"))
        log.add_row(SPECIAL)


SPECIAL = result("2-a", "auto", text="naïve\u2028\n", verdict=None, gate_features={"mean": -0.5})


def test_results_come_back(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    _filled(path)
    with RunLog.resume(path) as log:
        assert log.settings == SETTINGS
        assert log.engines == {"engine": FACTS}
        assert log.gold == {"1-a": GoldResult("1-a", "1", "passed", "")}
        assert log.rows == {("ar", "1-a"): result("1-a"), ("auto", "2-a"): SPECIAL}
        log.begin(SETTINGS)
        log.add_row(result("3-a"))
    assert set(RunLog.resume(path).rows) == {("ar", "1-a"), ("auto", "2-a"), ("ar", "3-a")}


def test_reading_leaves_the_file_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    _filled(path)
    content = path.read_bytes() + b'{"line": "row", "cut sh'
    path.write_bytes(content)
    assert len(RunLog.read(path).rows) == 2
    assert path.read_bytes() == content
    with pytest.raises(RecordsError, match="cannot be read"):
        RunLog.read(tmp_path / "absent.jsonl")


def test_each_row_is_on_the_disk_before_the_next_is_measured(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    with RunLog.create(path) as log:
        log.begin(SETTINGS)
        for number in range(3):
            log.add_row(result(f"{number}-a"))
            last = json.loads(path.read_text().splitlines()[-1])
            assert last["task_id"] == f"{number}-a"


def test_a_line_that_was_cut_short_is_dropped_and_measured_again(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    _filled(path)
    path.write_bytes(path.read_bytes()[:-30])
    with RunLog.resume(path) as log:
        assert set(log.rows) == {("ar", "1-a")}
        log.begin(SETTINGS)
        log.add_row(result("2-a", "auto"))
    assert set(RunLog.resume(path).rows) == {("ar", "1-a"), ("auto", "2-a")}


def test_other_settings_are_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    _filled(path)
    before = path.read_bytes()
    with pytest.raises(RecordsError, match=r"max_tokens \(64, now 32\)") as caught:
        RunLog.resume(path).begin(dataclasses.replace(SETTINGS, max_tokens=32))
    assert "suite" not in str(caught.value)
    assert path.read_bytes() == before


def test_another_engine_under_the_same_name_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    _filled(path)
    with RunLog.resume(path) as log:
        log.begin(SETTINGS)
        with pytest.raises(RecordsError, match=r"another engine: model \(m, now other\);"):
            log.begin_engine("engine", {**FACTS, "model": "other"})
        log.begin_engine("engine", dict(FACTS))
        log.begin_engine("bare base", {"model": "other"})
    assert RunLog.read(path).engines == {"engine": FACTS, "bare base": {"model": "other"}}


def test_results_are_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    _filled(path)
    with pytest.raises(RecordsError, match="--resume"):
        RunLog.create(path)


@pytest.mark.parametrize(
    "content",
    [
        b"something else\n",
        b'{"line": "row"}\n',
        b'{"line": "header", "version": 99, "settings": {}}\n',
        b'{"kind": "header", "version": 1, "settings": {}}\n',
        b'{"line": "other"}\n',
        b"[]\n",
        b"\xff\xfe\n",
        b'{"line": "gold", "task_id": "a", "cluster": "b", "verdict": "passed", "detail": ""}\n',
    ],
)
def test_a_foreign_file_is_refused_and_left_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(content + b"a cut line")
    with pytest.raises(RecordsError, match="not a file of results"):
        RunLog.resume(path)
    with pytest.raises(RecordsError, match="not a file of results"):
        RunLog.read(path)
    assert path.read_bytes() == content + b"a cut line"


def test_resuming_nothing_begins(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    with RunLog.resume(path) as log:
        log.begin(SETTINGS)
        log.add_row(result("1-a"))
    assert len(RunLog.resume(path).rows) == 1
