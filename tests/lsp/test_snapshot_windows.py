"""Snapshots of long documents against a slow reference on the whole text."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lsprotocol import types
from pygls.workspace import PositionCodec

from nemodiff_lsp.documents.documents import Document
from nemodiff_lsp.documents.positions import locate, newline_near, with_newline
from nemodiff_lsp.documents.snapshot import Snapshot, take_snapshot

TEXTS = st.lists(st.text(alphabet="ab\u00e9\U0001f600", max_size=9), max_size=30)
ENCODINGS = ["utf-8", "utf-16", "utf-32"]


def document_of(text: str, encoding: str) -> Document:
    return Document("file:///a%20b.py", text, 7, "python", PositionCodec(encoding))


def taken(document: Document, position: types.Position, budget: int) -> Snapshot:
    return take_snapshot(document, position, None, max_prefix_chars=budget, max_suffix_chars=budget)


def slow_prefix(text: str, end: int, budget: int) -> str:
    """From the first line start behind the next multiple of a quarter of the budget."""
    cut = end - budget
    if cut <= 0:
        return text[:end]
    stride = max(1, budget // 4)
    while cut % stride:
        cut += 1
    line_end = text.find("\n", cut, end)
    return text[line_end + 1 if line_end >= 0 else cut : end]


def slow_suffix(text: str, start: int, budget: int) -> str:
    rest = text[start:]
    if len(rest) <= budget:
        return rest
    line_end = rest.rfind("\n", 0, budget)
    return rest[: line_end + 1 if line_end >= 0 else budget]


@pytest.mark.parametrize("encoding", ENCODINGS)
@given(
    lines=TEXTS,
    newline=st.sampled_from(["\n", "\r\n"]),
    line=st.integers(0, 31),
    character=st.integers(0, 20),
    budget=st.integers(1, 80),
)
def test_windows_are_those_of_the_whole_text(
    encoding: str, lines: list[str], newline: str, line: int, character: int, budget: int
) -> None:
    text = newline.join(lines)
    now = taken(document_of(text, encoding), types.Position(line, character), budget)
    place = locate(text, line, character, encoding)
    assert now.prefix == with_newline(slow_prefix(text, place.offset, budget), "\n")
    assert now.suffix == with_newline(slow_suffix(text, place.offset, budget), "\n")
    assert now.replaced.start == types.Position(place.line, place.character)
    assert now.newline == newline_near(text, place.offset)
    if newline == "\n" or "\r\n" in text[: place.offset]:
        assert now.num_before == len(with_newline(text[: place.offset], "\n"))
        assert now.num_after == len(with_newline(text[place.offset :], "\n"))


@pytest.mark.parametrize("encoding", ENCODINGS)
@given(
    lines=TEXTS.filter(bool),
    newline=st.sampled_from(["\n", "\r\n"]),
    inserted=st.text(alphabet="ab\n\U0001f600", max_size=8),
)
def test_the_snapshot_behind_an_insertion_is_the_one_that_comes_of_it(
    encoding: str, lines: list[str], newline: str, inserted: str
) -> None:
    text = newline.join(["first", *lines])
    document = document_of(text, encoding)
    before = taken(document, types.Position(1, 99), 1_000)
    expected = before.after(inserted)
    change = types.TextDocumentContentChangePartial(
        before.replaced, inserted.replace("\n", newline)
    )
    document.apply_change(change)
    assert taken(document, expected.replaced.start, 1_000) == replace(expected, version=7)
