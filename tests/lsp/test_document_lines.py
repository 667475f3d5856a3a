"""Document against a plain string: any edits, any line ends, any unit of positions."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lsprotocol import types
from pygls.workspace import PositionCodec

from nemodiff_lsp.documents.documents import Document
from nemodiff_lsp.documents.positions import locate, num_units, split_lines

ENCODINGS = ["utf-8", "utf-16", "utf-32"]
TEXTS = st.text(alphabet="ab\t\r\n\x0c\x85\u00e9\u2028\U0001f600", max_size=24)
POSITIONS = st.tuples(st.integers(0, 9), st.integers(0, 12))
EDITS = st.lists(st.one_of(st.tuples(POSITIONS, POSITIONS, TEXTS), TEXTS), max_size=8)


def opened(text: str, encoding: str = "utf-16") -> Document:
    return Document("file:///a.py", text, 1, "python", PositionCodec(encoding))


def partial(
    start: tuple[int, int], end: tuple[int, int], text: str
) -> types.TextDocumentContentChangePartial:
    where = types.Range(types.Position(*start), types.Position(*end))
    return types.TextDocumentContentChangePartial(where, text)


@pytest.mark.parametrize("encoding", ENCODINGS)
@given(text=TEXTS, edits=EDITS)
def test_edits_do_what_they_do_to_a_string(
    encoding: str,
    text: str,
    edits: list[tuple[tuple[int, int], tuple[int, int], str] | str],
) -> None:
    document = opened(text, encoding)
    for edit in edits:
        if isinstance(edit, str):
            text = edit
            document.apply_change(types.TextDocumentContentChangeWholeDocument(edit))
        else:
            start, end, new = edit
            first, last = sorted(locate(text, *at, encoding).offset for at in (start, end))
            text = text[:first] + new + text[last:]
            document.apply_change(partial(start, end, new))
        assert document.source == text
        assert document.lines == split_lines(text)
        assert document.num_chars == len(text)
    for number in range(len(document.lines)):
        assert document.offset_of_line(number) == sum(map(len, document.lines[:number]))


@given(text=TEXTS, at=POSITIONS)
def test_places_are_those_of_the_whole_text(text: str, at: tuple[int, int]) -> None:
    document = opened(text)
    line, column = document.place(types.Position(*at))
    place = locate(text, *at, "utf-16")
    assert document.offset_of_line(line) + column == place.offset
    assert (line, num_units(document.lines[line][:column], "utf-16")) == place[1:]


def test_a_form_feed_is_no_line_end() -> None:
    """pygls' own documents cut there, and every edit below lands in the wrong place."""
    document = opened("a\n\x0c\nb\u2028c\nd\n")
    document.apply_change(partial((3, 0), (3, 1), "D"))
    assert document.source == "a\n\x0c\nb\u2028c\nD\n"
