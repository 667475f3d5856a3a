"""Recorder, store and histogram: each step counts once, in one file, and never more than counts."""

from __future__ import annotations

import json
import multiprocessing
import os
import stat
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nemodiff_lsp.stats.counts import (
    MAX_KEYS,
    OTHER,
    add,
    bucket_of,
    checked,
    merge,
    number_of,
    quantile_ms,
    sentence,
    word,
)
from nemodiff_lsp.stats.recorder import Recorder
from nemodiff_lsp.stats.store import EARLIER, StatsStore, state_folder

CANARY = "canary_4711"
TREES = st.recursive(
    st.integers(0, 1_000),
    lambda inner: st.dictionaries(st.sampled_from("abcd"), inner, max_size=3),
    max_leaves=8,
).filter(lambda tree: isinstance(tree, dict))


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def recorder_in(folder: Path, clock: Clock | None = None, **options: Any) -> Recorder:
    return Recorder(
        StatsStore(folder), clock=clock or Clock(), today=lambda: "2026-11-21", **options
    )


def counted(recorder: Recorder, folder: Path) -> dict[str, Any]:
    recorder.close()
    return StatsStore(folder).days().get("2026-11-21", {})


def test_the_life_of_an_offer(tmp_path: Path) -> None:
    recorder = recorder_in(tmp_path)
    recorder.asked(trigger="automatic", language_id="python")
    recorder.answered(
        source="engine", stages_ms={"engine": 120.0, "total": 130.0}, forwards=9, why=None
    )
    recorder.shown("1", 10, "python")
    recorder.shown("1", 10, "python")
    recorder.typed_through("1", 2)
    recorder.typed_through("1", 4)
    recorder.typed_through("1", 3)
    recorder.answered(source="offer", stages_ms={"total": 1.0}, forwards=9, why=None)
    recorder.partly_accepted("1", 6)
    recorder.partly_accepted("1", 6)
    recorder.accepted("1", 10)
    recorder.accepted("1", 10)
    recorder.shown("2", 5, "lua")
    recorder.dismissed("2")
    recorder.dismissed("2")
    recorder.accepted("never shown", 5)
    summary = recorder.summary()
    assert (summary["shown"], summary["accepted"], summary["forwards_saved"]) == (2, 1, 9)
    found = counted(recorder, tmp_path)
    stages = found.pop("stages")
    assert found == {
        "asked": {"automatic": 1},
        "answered": {"engine": 1, "offer": 1},
        "forwards_spent": 9,
        "forwards_saved": 9,
        "shown": 2,
        "shown_chars": 15,
        "typed_through": 1,
        "typed_chars": 4,
        "partly_accepted": 1,
        "partly_chars": 2,
        "accepted": 1,
        "accepted_chars": 10,
        "dismissed": 1,
        "languages": {
            "python": {"asked": 1, "shown": 1, "accepted": 1, "accepted_chars": 10},
            "lua": {"shown": 1},
        },
    }
    assert {stage: sum(histogram.values()) for stage, histogram in stages.items()} == {
        "engine": 1,
        "total": 2,
    }


def test_no_text_can_become_a_count(tmp_path: Path) -> None:
    recorder = recorder_in(tmp_path)
    recorder.asked(trigger=f"/{CANARY}", language_id=f"{CANARY} x")
    recorder.answered(
        source="none",
        stages_ms={f"{CANARY}()": 1.0},
        forwards=0,
        why=f"The file '/home/{CANARY}' is odd.",
    )
    recorder.shown(CANARY, 3, f"{CANARY}/")
    recorder.accepted(CANARY, 3)
    found = counted(recorder, tmp_path)
    assert found["nothing_because"] == {OTHER: 1}
    assert found["stages"][OTHER] == {bucket_of(1.0): 1}
    for path in tmp_path.rglob("*"):
        assert CANARY not in path.name
        assert CANARY not in path.read_text()


def test_what_is_sayable_is_kept() -> None:
    assert sentence("The file is ignored by git.") == "The file is ignored by git."
    assert sentence("The file is longer than 1,000,000 characters (setting maxFileChars).") != OTHER
    for odd in ("it's `x`", 'The "x".', "A path/name.", "A back\\slash.", "Two\nlines.", "x" * 200):
        assert sentence(odd) == OTHER
    assert [word(each) for each in ("C++", "c#", None, "a b", "x" * 40)] == [
        "c++",
        "c#",
        "none",
        OTHER,
        OTHER,
    ]


def test_switched_off_it_writes_nothing(tmp_path: Path) -> None:
    recorder = recorder_in(tmp_path / "state", is_enabled=False)
    recorder.asked(trigger="automatic", language_id="python")
    recorder.shown("1", 5, None)
    recorder.close()
    assert not (tmp_path / "state").exists()


def test_nothing_that_goes_wrong_is_raised(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    recorder = recorder_in(blocked)
    recorder.asked(trigger=None, language_id=7)  # type: ignore[arg-type]
    recorder.answered(source="engine", stages_ms={"total": float("nan")}, forwards=-3, why=None)
    recorder.shown("1", "many", None)  # type: ignore[arg-type]
    recorder.close()
    assert "could not be written (FileExistsError)" in caplog.text
    assert str(tmp_path) not in caplog.text


def test_it_writes_now_and_then_by_itself(tmp_path: Path) -> None:
    clock = Clock()
    recorder = recorder_in(tmp_path, clock)
    recorder.asked(trigger="automatic", language_id=None)
    assert not (tmp_path / "statistics.json").exists()
    clock.now_s = 31.0
    recorder.asked(trigger="automatic", language_id=None)
    assert recorder._writing is not None
    recorder._writing.join()
    assert StatsStore(tmp_path).days()["2026-11-21"]["asked"] == {"automatic": 2}
    recorder.asked(trigger="automatic", language_id=None)
    assert counted(recorder, tmp_path)["asked"] == {"automatic": 3}


def test_a_reset_stays_one(tmp_path: Path) -> None:
    """A window that counts on must not bring back what was forgotten."""
    recorder = recorder_in(tmp_path)
    recorder.asked(trigger="automatic", language_id=None)
    recorder.flush()
    assert StatsStore(tmp_path).reset()
    assert not StatsStore(tmp_path).reset()
    recorder.asked(trigger="invoked", language_id=None)
    assert counted(recorder, tmp_path)["asked"] == {"invoked": 1}


def _count(folder: str, number: int) -> None:
    recorder = recorder_in(Path(folder))
    for _ in range(number):
        recorder.asked(trigger="automatic", language_id="python")
        recorder.flush()
    recorder.close()


def test_windows_add_up(tmp_path: Path) -> None:
    spawn = multiprocessing.get_context("spawn")
    windows = [spawn.Process(target=_count, args=(str(tmp_path), 20)) for _ in range(3)]
    for window in windows:
        window.start()
    for window in windows:
        window.join(120)
    assert [window.exitcode for window in windows] == [0, 0, 0]
    assert StatsStore(tmp_path).days()["2026-11-21"]["asked"] == {"automatic": 60}


@pytest.mark.skipif(os.name == "nt", reason="modes are the Unix way")
def test_the_file_is_the_users_alone(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    recorder = recorder_in(folder)
    recorder.shown("1", 1, None)
    recorder.close()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in folder.iterdir())


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        '{"format":2,"days":{}}',
        '{"format":1,"days":{"2026-11-21":{"shown":-1}}}',
        '{"format":1,"days":{"2026-11-21":{"shown":"x"}}}',
        '{"format":1,"days":{"2026-11-21":3}}',
        '{"format":1,"days":' + '{"a":' * 40 + "1" + "}" * 40 + "}",
    ],
)
def test_a_damaged_file_is_set_aside(tmp_path: Path, content: str) -> None:
    (tmp_path / "statistics.json").write_text(content)
    recorder = recorder_in(tmp_path)
    recorder.asked(trigger="automatic", language_id=None)
    assert counted(recorder, tmp_path)["asked"] == {"automatic": 1}
    assert (tmp_path / "statistics.unreadable.json").read_text() == content


def test_old_days_are_joined(tmp_path: Path) -> None:
    store = StatsStore(tmp_path)
    store.add(
        {f"2026-{month:02}-{day:02}": {"shown": 1} for month in range(1, 8) for day in range(1, 29)}
    )
    days = store.days()
    assert len(days) == 91
    assert next(iter(days)) == EARLIER
    assert number_of(days[EARLIER], "shown") == 7 * 28 - 90
    store.add({"2026-12-01": {"shown": 1}})
    assert number_of(store.days()[EARLIER], "shown") == 7 * 28 - 89


def test_where_the_file_lies(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("NEMODIFF_STATE_DIR", str(tmp_path))
    assert state_folder() == tmp_path
    monkeypatch.delenv("NEMODIFF_STATE_DIR")
    assert state_folder().is_absolute()
    assert "nemodiff" in str(state_folder())


@given(st.lists(st.floats(0.002, 1e6), min_size=1, max_size=80), st.floats(0.01, 1.0))
def test_quantiles_are_right_to_a_bucket(durations_ms: list[float], share: float) -> None:
    counts: dict[str, Any] = {}
    for duration_ms in durations_ms:
        add(counts, 1, bucket_of(duration_ms))
    rank = max(1, -(-share * len(durations_ms) // 1))
    exact = sorted(durations_ms)[int(rank) - 1]
    near = quantile_ms(counts, share)
    assert near is not None
    others = sorted(abs(near / each - 1) for each in durations_ms)
    assert abs(near / exact - 1) < 0.04 or others[0] < 0.04
    assert quantile_ms({}, share) is None


@given(st.lists(TREES, max_size=4))
def test_merging_adds(trees: list[dict[str, Any]]) -> None:
    def total(tree: dict[str, Any]) -> int:
        return sum(total(each) if isinstance(each, dict) else each for each in tree.values())

    names = [{str(index): tree} for index, tree in enumerate(trees)]
    joined: dict[str, Any] = {}
    for tree in (*names, *names):
        merge(joined, tree)
    assert total(joined) == 2 * sum(total(tree) for tree in trees)
    assert json.loads(json.dumps(joined)) == joined
    checked(joined)


def test_the_number_of_names_is_bounded() -> None:
    counts: dict[str, Any] = {}
    for number in range(2 * MAX_KEYS):
        add(counts, 1, "languages", f"l{number}")
    assert len(counts["languages"]) == MAX_KEYS + 1
    assert counts["languages"][OTHER] == MAX_KEYS
