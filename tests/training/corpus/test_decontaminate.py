"""Decontamination: copies of a benchmark are found, programs that look alike are not."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from engine.training.corpus.decontaminate import (
    Decontaminator,
    is_telling,
    read_benchmark,
    read_benchmarks,
    tokens,
)
from engine.training.corpus.errors import CorpusError

from .benchmarks import CLOSEST, HOLE, MBPP, PLAIN, write_rows
from .builders import module


@pytest.fixture
def decontaminator(tmp_path: Path) -> Decontaminator:
    rows: list[dict[str, object]] = [dict(CLOSEST), dict(PLAIN), dict(HOLE), dict(MBPP)]
    return Decontaminator(read_benchmark(write_rows(tmp_path / "own.jsonl.gz", rows)))


def _planted(body: str) -> str:
    """`body` in the middle of an innocent file, inside a class."""
    return f"{module('before')}\nclass Holder:\n{textwrap.indent(body, '    ')}\n{module('after')}"


@pytest.mark.parametrize(
    ("text", "task"),
    [
        (str(CLOSEST["prompt"]), "own.jsonl.gz: Own/0"),
        (str(CLOSEST["canonical_solution"]), "own.jsonl.gz: Own/0"),
        (f"{CLOSEST['prompt']}{CLOSEST['canonical_solution']}", "own.jsonl.gz: Own/0"),
        (str(CLOSEST["canonical_solution"]).replace("    ", "\t").upper(), "own.jsonl.gz: Own/0"),
        ("    smallest = ordered[1] - ordered[0]\n    for lower,", "own.jsonl.gz: Own/0"),
        (str(PLAIN["canonical_solution"]), "own.jsonl.gz: Own/1"),
        (f"{HOLE['prompt']}{HOLE['canonical_solution']}{HOLE['suffix']}", "own.jsonl.gz: Hole/0"),
        (str(MBPP["text"]), "own.jsonl.gz: 7"),
        (str(MBPP["code"]), "own.jsonl.gz: 7"),
    ],
)
def test_planted_text_is_found(decontaminator: Decontaminator, text: str, task: str) -> None:
    assert decontaminator.match(_planted(text)) == task
    assert decontaminator.match(text) == task


@pytest.mark.parametrize(
    "text",
    [
        module("innocent"),
        "from typing import List\n\n\ndef closest(names: List[str]) -> str:\n    return ''",
        "for i in range(len(l)):\n    for j in range(len(l)):\n        if l[i] == l[j]:\n",
        "numbers = [1.0, 2.5, 3.0]\nassert smallest(numbers) == 0.5\n",
        "ordered = sorted(heights)\nsmallest = ordered[0]\n",
        "",
    ],
)
def test_innocent_text_is_not(decontaminator: Decontaminator, text: str) -> None:
    assert decontaminator.match(text) is None


def test_twelve_tokens_in_common_are_not_enough(decontaminator: Decontaminator) -> None:
    words = tokens("ordered = sorted(heights) smallest = ordered[1] - ordered[0]")
    assert len(words) == 17
    assert decontaminator.match(" ".join(words[:12])) is None
    assert decontaminator.match(" ".join(words[:13])) is not None
    assert decontaminator.match(" ".join([*words[:12], "other", *words[12:]])) is None


def test_tokens() -> None:
    assert tokens("Été_1 += f(x2, 3.25)  # it's") == [
        *("été_1", "+", "=", "f", "(", "x2", ",", "3.25", ")", "#", "it", "'", "s"),
    ]


@pytest.mark.parametrize(
    ("text", "telling"),
    [
        ("for i in range(n): for j in range(", False),
        ("['a', 'b', 'c', 'd'", False),
        ("[1, 2, 3, 4, 5, 6, 7", False),
        ("def f(self, values: List[int]", False),
        ("if height > 0: return width * height", True),
    ],
)
def test_what_tells(text: str, telling: bool) -> None:
    assert is_telling(tokens(text)) == telling


def test_a_folder_stands_for_all_its_files(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    write_rows(tmp_path / "a.jsonl", [dict(CLOSEST)])
    write_rows(tmp_path / "below/b.jsonl.gz", [dict(PLAIN), dict(HOLE)])
    (tmp_path / "README.md").write_text("no benchmark\n")
    names = [(task.benchmark, task.name) for task in read_benchmarks(tmp_path)]
    assert names == [("a.jsonl", "Own/0"), ("b.jsonl.gz", "Own/1"), ("b.jsonl.gz", "Hole/0")]


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("a.jsonl", b"", "holds no benchmark rows"),
        ("a.jsonl", b'{"question": "?"}\n', "cannot be read as a benchmark after 0 rows"),
        ("a.jsonl", b"[]\n", "cannot be read as a benchmark after 0 rows"),
        ("a.jsonl", b"\xff\n", "cannot be read as a benchmark after 0 rows"),
        ("a.jsonl.gz", b"no gzip", "cannot be read as a benchmark after 0 rows"),
    ],
)
def test_a_file_that_is_no_benchmark_is_named(
    tmp_path: Path, name: str, content: bytes, sentence: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CorpusError, match=rf"{name} {sentence}.*\.$"):
        read_benchmark(tmp_path / name)


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"nothing.jsonl cannot be read \(No such file"):
        read_benchmarks(tmp_path / "nothing.jsonl")
    with pytest.raises(CorpusError, match=r"holds no \.jsonl or \.jsonl\.gz file"):
        read_benchmarks(tmp_path)
