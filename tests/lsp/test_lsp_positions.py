"""Positions against a slow reference: every unit of every line, in text that editors do send."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nemodiff_lsp.documents.positions import locate, newline_near, num_units, with_newline

ENCODINGS = ["utf-8", "utf-16", "utf-32"]
CODECS = {"utf-8": ("utf-8", 1), "utf-16": ("utf-16-le", 2), "utf-32": ("utf-32-le", 4)}
TEXTS = st.text(alphabet="ab\t\r\n\x0c\u00e9\u2028\u4e16\U0001f600\u0301\ud83d", max_size=40)


def slow_units(text: str, encoding: str) -> int:
    codec, width = CODECS[encoding]
    return len(text.encode(codec, "surrogatepass")) // width


def lines_with_starts(text: str) -> list[tuple[int, str]]:
    found, start = [], 0
    for match in re.finditer(r"\r\n|\r|\n", text):
        found.append((start, text[start : match.start()]))
        start = match.end()
    return [*found, (start, text[start:])]


@pytest.mark.parametrize("encoding", ENCODINGS)
@given(text=TEXTS)
def test_every_place_is_found_again(encoding: str, text: str) -> None:
    for number, (start, content) in enumerate(lines_with_starts(text)):
        for column in range(len(content) + 1):
            units = slow_units(content[:column], encoding)
            assert locate(text, number, units, encoding) == (start + column, number, units)


@pytest.mark.parametrize("encoding", ENCODINGS)
@given(text=TEXTS, line=st.integers(0, 50), character=st.integers(0, 200))
def test_any_position_means_a_place_between_two_characters(
    encoding: str, text: str, line: int, character: int
) -> None:
    lines = lines_with_starts(text)
    place = locate(text, line, character, encoding)
    if line >= len(lines):
        assert place.offset == len(text)
        return
    start, content = lines[line]
    fitting = [n for n in range(len(content) + 1) if slow_units(content[:n], encoding) <= character]
    assert place == (start + fitting[-1], line, slow_units(content[: fitting[-1]], encoding))


@pytest.mark.parametrize("encoding", ENCODINGS)
@given(text=TEXTS)
def test_units_are_the_codecs_own(encoding: str, text: str) -> None:
    assert num_units(text, encoding) == slow_units(text, encoding)


@pytest.mark.parametrize(
    ("text", "offset", "newline"),
    [
        ("", 0, "\n"),
        ("abc", 3, "\n"),
        ("a\r\nb", 0, "\r\n"),
        ("a\r\nb", 3, "\r\n"),
        ("a\r\nb\nc", 5, "\n"),
        ("a\nb\r\nc", 6, "\r\n"),
        ("a\rb", 2, "\r"),
        ("\nb\r\n", 1, "\n"),
    ],
)
def test_the_line_end_of_the_neighbourhood(text: str, offset: int, newline: str) -> None:
    assert newline_near(text, offset) == newline


@given(text=TEXTS, newline=st.sampled_from(["\n", "\r\n", "\r"]))
def test_line_ends_become_one_kind_and_lines_stay(text: str, newline: str) -> None:
    changed = with_newline(text, newline)
    assert set(re.findall(r"\r\n|\r|\n", changed)) <= {newline}
    assert [content for _, content in lines_with_starts(changed)] == [
        content for _, content in lines_with_starts(text)
    ]
