"""Typing traces: edits lead where the commit did, and the typist's keys lead where the edits do."""

from __future__ import annotations

import gzip
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nemodiff_lsp.bench.trace_from_git import Limits, edits_between, trace_of
from nemodiff_lsp.bench.typing_trace import (
    SHIPPED,
    Edit,
    Sitting,
    Trace,
    TraceError,
    read_trace,
    write_trace,
)
from nemodiff_lsp.bench.typist import MAX_BACKSPACES, Typist, common_prefix
from tests.rigs.commits import committed

LINES = st.lists(
    st.sampled_from(
        ["", "x = 1", "    y = x", "\tz", "def f(a):", "        return a", "é😀 = ''", "}"]
    ),
    max_size=12,
).map("\n".join)


def result_of(base: str, edits: tuple[Edit, ...]) -> str:
    return Sitting("c", "a.py", "python", base, edits).result()


def type_out(base: str, edits: tuple[Edit, ...]) -> tuple[str, list[str]]:
    """The text that the typist ends with, and the text after each key."""
    typist = Typist(base, edits)
    texts = []
    while (key := typist.next_key()) is not None:
        typist.press(key)
        texts.append(typist.text)
    return typist.text, texts


@given(LINES, LINES)
def test_edits_lead_from_one_text_to_the_other(before: str, after: str) -> None:
    edits = edits_between(before, after)
    assert result_of(before, edits) == after
    assert all(edit.num_deleted or edit.inserted for edit in edits)
    assert [edit.offset for edit in edits] == sorted(edit.offset for edit in edits)


@given(LINES, LINES)
def test_keys_lead_where_the_edits_do(before: str, after: str) -> None:
    text, texts = type_out(before, edits_between(before, after))
    assert text == after
    assert len(texts) == len([t for i, t in enumerate(texts) if i == 0 or t != texts[i - 1]])


@given(LINES, LINES, st.integers(1, 12))
def test_right_offers_are_taken_and_lead_to_the_same_text(
    before: str, after: str, num_offered: int
) -> None:
    typist = Typist(before, edits_between(before, after))
    while (key := typist.next_key()) is not None:
        typist.press(key)
        coming = typist.upcoming[:num_offered]
        offered = typist.text[: typist.cursor] + coming + typist.text[typist.cursor :]
        is_taken = typist.take(offered, 2)
        assert is_taken == (len(coming) if len(coming) >= 2 else 0)
    assert typist.text == after


def test_an_offer_that_is_not_what_comes_is_left() -> None:
    typist = Typist("x = \n", (Edit(4, 0, "compute()"),))
    key = typist.next_key()
    assert key is not None
    typist.press(key)
    assert typist.text == "x = c\n"
    assert typist.take("x = count()\n", 1) == 0
    assert typist.take("x = compute()) \n", 1) == 0
    assert typist.take("y = compute()\n", 1) == 0
    assert typist.take("x = co\n", 2) == 0
    assert typist.take("x = compute()\n", 2) == 8
    assert typist.next_key() is None


def test_the_editor_indents_and_the_typist_dedents() -> None:
    inserted = "\n\n    def g(self):\n        return 1\n\nx = 2"
    base = "class C:\n    def f(self):\n        pass\n"
    text, texts = type_out(base, (Edit(len(base) - 1, 0, inserted),))
    assert text == base[:-1] + inserted + "\n"
    # The line end after `def g(self):` brings eight blanks by itself.
    assert any(each.endswith("def g(self):\n        \n") for each in texts)
    # No blank line keeps the blanks that the editor put there.
    assert "        \n\n" not in text


def test_short_deletions_are_backspaces_and_long_ones_are_not() -> None:
    short, long = "abc", "x" * (MAX_BACKSPACES + 1)
    assert len(type_out(short, (Edit(0, 3, ""),))[1]) == 3
    assert len(type_out(long, (Edit(0, len(long), ""),))[1]) == 1


@given(st.text(max_size=40), st.text(max_size=40), st.text(max_size=40))
def test_common_prefix(start: str, a: str, b: str) -> None:
    length = common_prefix(start + a, start + b)
    assert (start + a)[:length] == (start + b)[:length]
    assert length >= len(start)
    assert (start + a)[length : length + 1] != (start + b)[length : length + 1] or length == min(
        len(start + a), len(start + b)
    )


@pytest.mark.parametrize("name", ["trace.jsonl", "trace.jsonl.gz"])
def test_a_written_trace_reads_back(tmp_path: Path, name: str) -> None:
    sitting = Sitting("abc", "a/é.py", "python", "x = \n", (Edit(4, 0, "1"), Edit(5, 1, "")))
    trace = Trace("by hand", (sitting, sitting))
    write_trace(tmp_path / name, trace)
    first = (tmp_path / name).read_bytes()
    assert read_trace(tmp_path / name) == trace
    write_trace(tmp_path / name, trace)
    assert (tmp_path / name).read_bytes() == first


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        b"no json",
        b"\x1f\x8b\x00",
        b'{"format": 1, "source": "s"}\n{"commit": "c"}',
        b'{"format": 1, "source": "s"}\n'
        b'{"commit": "c", "path": "p", "language_id": "l", "base": "ab", "edits": [[1, 2, ""]]}',
    ],
)
def test_what_is_no_trace_is_one_sentence(tmp_path: Path, data: bytes) -> None:
    compressed = gzip.compress(data)
    for name, written in (
        ("plain.jsonl", data),
        ("plain.jsonl.gz", data),
        ("compressed.jsonl.gz", compressed),
        ("cut.jsonl.gz", compressed[:-9]),
    ):
        path = tmp_path / name
        path.write_bytes(written)
        with pytest.raises(TraceError, match="no typing trace"):
            read_trace(path)


def test_a_missing_trace_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match="cannot be read"):
        read_trace(tmp_path / "none")


def test_the_shipped_trace_holds_two_thousand_real_keystrokes() -> None:
    assert SHIPPED.stat().st_size <= 300_000
    trace = read_trace(SHIPPED)
    num_keys = 0
    for sitting in trace.sittings:
        text, texts = type_out(sitting.base, sitting.edits)
        assert text == sitting.result()
        num_keys += len(texts)
    assert num_keys >= 2_000
    assert len({sitting.path for sitting in trace.sittings}) >= 20


def test_a_trace_of_a_repository(tmp_path: Path) -> None:
    first = "def f(a):\n    return a\n"
    second = "def f(a, b):\n    total = a + b\n    return total\n"
    committed(tmp_path, {"f.py": first, "notes.txt": "no source", "b.py": "\0 = 1\n" * 9})
    committed(tmp_path, {"f.py": second})

    trace = trace_of(tmp_path, Limits(max_sittings=10, max_chars=500, min_chars=1))
    assert {sitting.path for sitting in trace.sittings} == {"f.py"}
    changed = trace.sittings[-1]
    assert changed.base == first
    assert changed.result() == second
    # What stayed is not typed again.
    assert "def f(a" not in "".join(edit.inserted for edit in changed.edits)
    out = tmp_path / "trace.jsonl.gz"
    command = [sys.executable, "-m", "engine", "bench", "trace", "--repo", str(tmp_path)]
    run = subprocess.run([*command, "--out", str(out)], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert read_trace(out).sittings[-1].result() == second


def test_a_folder_without_history_is_one_sentence(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "engine", "bench", "trace", "--repo", str(tmp_path)]
    run = subprocess.run([*command, "--out", str(tmp_path / "t")], capture_output=True, text=True)
    assert run.returncode == 1
    assert len(run.stderr.splitlines()) == 1
