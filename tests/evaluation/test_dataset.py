"""Benchmark rows are read, checked and picked as documented."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.evaluation.dataset import (
    DatasetError,
    evenly_spaced,
    read_fresh,
    read_infilling,
    read_silent,
)

from .rows import all_rows, cut_row, fresh_rows, row, silent_rows, write

GOOD = json.dumps(row(2, 0))


@pytest.mark.parametrize("name", ["singleline-dev.jsonl", "singleline-dev.jsonl.gz"])
def test_plain_and_compressed_files_are_read(tmp_path: Path, name: str) -> None:
    dataset = read_infilling(write(tmp_path / name, all_rows()))
    assert dataset.name == "singleline-dev"
    assert [each.task_id for each in dataset.rows] == [each["task_id"] for each in all_rows()]
    last = dataset.rows[-1]
    assert (last.cluster, last.language, last.kind) == ("HumanEval/3", "python", "single-line")
    assert last.gold == all_rows()[-1]["canonical_solution"]


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        ("MultiLineInfilling", "multi-line"),
        ("RandomSpanInfillingLight", "random-span-light"),
        ("Mine", "infilling"),
    ],
)
def test_the_split_of_a_row_is_its_kind(tmp_path: Path, head: str, kind: str) -> None:
    one = {**row(2, 0), "task_id": f"{head}/HumanEval/2/1"}
    assert read_infilling(write(tmp_path / "rows.jsonl", [one])).rows[0].kind == kind


def test_cut_rows_are_read_with_their_fields(tmp_path: Path) -> None:
    dataset = read_fresh(write(tmp_path / "fresh.jsonl.gz", fresh_rows()))
    assert [each.task_id for each in dataset.rows] == [each["task_id"] for each in fresh_rows()]
    one = dataset.rows[3]
    assert (one.cluster, one.language, one.kind) == ("pkg0", "go", "expression")
    assert one.filled("7") == "x = 7\ny = 2\n"
    assert one.tests is None
    with pytest.raises(ValueError, match="has no tests"):
        one.program("7")
    silent = read_silent(write(tmp_path / "silent.jsonl", silent_rows()))
    assert {each.gold for each in silent.rows} == {""}


def _cut(**changes: object) -> bytes:
    return json.dumps({**cut_row(1, "line"), **changes}).encode()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (_cut(gold=" \n"), "the field gold is blank; such rows belong to `nemodiff eval silent`"),
        (_cut(cluster=""), "the field cluster is empty"),
        (_cut(kind=3), "the field kind must be a string"),
        (json.dumps(row(2, 0)).encode(), "the field cluster is missing"),
        (_cut() + b"\n" + _cut(), "line 2: task_id .* occurs twice"),
    ],
)
def test_bad_cut_rows_are_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(content)
    with pytest.raises(DatasetError, match=message):
        read_fresh(path)


def test_a_hole_among_silent_rows_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(_cut(gold="x"))
    with pytest.raises(DatasetError, match="gold must be empty"):
        read_silent(path)


def test_line_separators_inside_strings_do_not_end_a_row(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({**row(1, 0), "prompt": "a\u2028b"}, ensure_ascii=False) + "\n")
    assert read_infilling(path).rows[0].prompt == "a\u2028b"


def test_program_is_prompt_completion_suffix_test_and_check(tmp_path: Path) -> None:
    one = read_infilling(write(tmp_path / "rows.jsonl", [row(2, 0)])).rows[0]
    program = one.program("    return x + 2")
    # Raises unless the parts are joined so that the tests run.
    exec(program, {})
    with pytest.raises(AssertionError):
        exec(one.program("    return x - 2"), {})


def _without(field: str) -> str:
    return json.dumps({name: value for name, value in row(2, 0).items() if name != field})


BAD: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "holds no rows"),
    "blank lines": (b"\n \n", "holds no rows"),
    "cut gzip": (gzip.compress(GOOD.encode(), mtime=0)[:-20], "damaged or cut short"),
    "broken gzip": (b"\x1f\x8b" + b"x" * 40, "damaged or cut short"),
    "not text": (b"\xff\xfe\x00", "neither gzip nor UTF-8"),
    "not JSON": (f"{GOOD}\n{{oops\n".encode(), "line 2: not valid JSON"),
    "not an object": (b"[1]\n", "line 1: must be a JSON object"),
    "no suffix": (_without("suffix").encode(), "line 1: the field suffix is missing"),
    "no test": (_without("test").encode(), "line 1: the field test is missing"),
    "number": (json.dumps({**row(2, 0), "prompt": 3}).encode(), "the field prompt must be a str"),
    "entry point": (
        json.dumps({**row(2, 0), "entry_point": "f(); import os"}).encode(),
        "entry_point is not the name of a function",
    ),
    "keyword": (json.dumps({**row(2, 0), "entry_point": "def"}).encode(), "entry_point is not"),
    "task id": (json.dumps({**row(2, 0), "task_id": "foo/1"}).encode(), "must name its base task"),
    "twice": (f"{GOOD}\n{GOOD}\n".encode(), "line 2: task_id .* occurs twice"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_file_is_refused_with_one_sentence(tmp_path: Path, case: str) -> None:
    content, message = BAD[case]
    path = tmp_path / "rows.jsonl"
    path.write_bytes(content)
    with pytest.raises(DatasetError, match=message) as caught:
        read_infilling(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="does not exist"):
        read_infilling(tmp_path / "absent.jsonl.gz")
    with pytest.raises(DatasetError, match="cannot be read"):
        read_infilling(tmp_path)


@given(st.integers(1, 300), st.integers(1, 300))
def test_evenly_spaced_rows(num_items: int, limit: int) -> None:
    picked = evenly_spaced(range(num_items), limit)
    assert len(picked) == min(limit, num_items)
    assert picked[0] == 0
    # The gap behind the last one counts too: no end of the file is left out.
    gaps = {b - a for a, b in zip(picked, [*picked[1:], num_items], strict=True)}
    assert min(gaps) >= 1
    assert max(gaps) - min(gaps) <= 1


def test_no_limit_takes_all_and_zero_is_an_error() -> None:
    assert evenly_spaced("abc", None) == ("a", "b", "c")
    with pytest.raises(ValueError, match="limit"):
        evenly_spaced("abc", 0)
