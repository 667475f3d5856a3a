"""The excerpt around a hole: whole lines, within its limits, whole definitions where they fit."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.evaluation.cuts.source import Source
from engine.evaluation.cuts.window import (
    MAX_PROMPT_BYTES,
    MAX_SUFFIX_BYTES,
    prompt_start,
    suffix_end,
)


def read(text: str) -> Source:
    source = Source.read("python", text)
    assert source is not None
    return source


def functions(num: int, num_lines: int) -> str:
    body = "".join(f"    value_{line} = other({line})\n" for line in range(num_lines))
    return "".join(f"def function_{index}():\n{body}\n\n" for index in range(num))


def test_a_short_file_is_taken_whole() -> None:
    source = read(functions(3, 4))
    assert prompt_start(source, 120) == 0
    assert suffix_end(source, 120) == len(source.data)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 40), st.integers(1, 60), st.data())
def test_lines_and_limits(num: int, num_lines: int, data: st.DataObject) -> None:
    source = read(functions(num, num_lines))
    hole = data.draw(st.integers(0, len(source.data)))
    start, end = prompt_start(source, hole), suffix_end(source, hole)
    assert 0 <= start <= hole <= end <= len(source.data)
    assert hole - start <= MAX_PROMPT_BYTES
    assert end - hole <= MAX_SUFFIX_BYTES
    assert start == 0 or source.data[start - 1 : start] == b"\n"
    assert end == len(source.data) or source.data[end - 1 : end] == b"\n"


def test_the_excerpt_is_of_whole_definitions_where_they_fit() -> None:
    source = read(functions(100, 6))
    hole = len(source.data) // 2
    start, end = prompt_start(source, hole), suffix_end(source, hole)
    assert source.data[start:].startswith(b"def function_")
    assert source.data[end:].lstrip().startswith(b"def function_")
    assert Source.read("python", source.data[start:end].decode()) is not None
    assert hole - start > MAX_PROMPT_BYTES - 300
    assert end - hole > MAX_SUFFIX_BYTES - 300


def test_within_a_long_definition_the_excerpt_is_of_lines() -> None:
    source = read(functions(2, 600))
    hole = len(source.data) // 2 - 200
    assert MAX_PROMPT_BYTES - 100 < hole - prompt_start(source, hole) <= MAX_PROMPT_BYTES
    after = read(functions(2, 600))
    assert suffix_end(after, 1000) - 1000 > MAX_SUFFIX_BYTES - 100


@pytest.mark.parametrize("length", [10, 5000])
def test_no_excerpt_begins_within_a_docstring(length: int) -> None:
    docstring = "word " * 10 + "\n"
    text = f'"""{docstring * (length // 50)}"""\n' + "value = other(1)\n" * 370
    source = read(text)
    for hole in range(6100, len(source.data), 97):
        assert b'"""' not in source.data[prompt_start(source, hole) : hole]
    assert text.count('"""') == 2


def test_a_line_longer_than_the_limit_is_kept_whole() -> None:
    source = read("first = 1\nsecond = [" + "100, " * 2000 + "]\nthird = 3\n")
    assert prompt_start(source, 8000) == len("first = 1\n")
    assert suffix_end(source, 15) == len(source.data) - len("third = 3\n")
