"""An edited text judged by what the edits changed, against a look at all of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lsprotocol import types
from pygls.workspace import PositionCodec

from nemodiff_lsp.admission import Admission
from nemodiff_lsp.documents import documents
from nemodiff_lsp.documents.documents import Document
from nemodiff_lsp.documents.measures import measure
from nemodiff_lsp.privacy import content
from nemodiff_lsp.privacy.content import objection_to, objection_to_edited
from nemodiff_lsp.privacy.policy import FilePolicy
from nemodiff_lsp.settings.settings import Settings

KEY = "-----BEGIN PRIVATE KEY-----"
PIECES = (
    *("\n", "\r\n", "\r", "\0", "x = 1\n", "x" * 40, "x" * 250, "x" * 499 + "\n", "x" * 500),
    *("x" * 501 + "\r", "x" * 700 + "\n", "PRIVATE KEY", KEY, KEY + "\n" + "A" * 30, "A" * 64),
    *("PuTTY-User-Key-File-", "AGE-SECRET-KEY-1", "word " * 60, "", "y" * 900),
)
TEXTS = st.lists(st.sampled_from(PIECES), max_size=12).map("".join)
POSITIONS = st.tuples(st.integers(0, 12), st.integers(0, 900))
EDITS = st.lists(st.tuples(POSITIONS, POSITIONS, TEXTS) | TEXTS, max_size=8)
LIMITS = st.fixed_dictionaries(
    {"max_chars": st.sampled_from([900, 5_000, 50_000]), "max_line_chars": st.integers(490, 800)}
)
URI = "file:///project/a.py"


def opened(text: str) -> Document:
    return Document(URI, text, 1, "python", PositionCodec("utf-16"))


def edit(document: Document, start: tuple[int, int], end: tuple[int, int], text: str) -> None:
    where = types.Range(types.Position(*start), types.Position(*end))
    document.apply_change(types.TextDocumentContentChangePartial(where, text))


@given(text=TEXTS, edits=EDITS, limits=LIMITS, language_id=st.sampled_from(["python", "markdown"]))
@settings(deadline=None, max_examples=300)
def test_an_edited_text_is_judged_as_a_whole_one(
    text: str,
    edits: list[tuple[tuple[int, int], tuple[int, int], str] | str],
    limits: dict[str, int],
    language_id: str,
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        # So that edits fall on both sides of them.
        patch.setattr(content, "_HEAD_CHARS", 300)
        patch.setattr(content, "_SCANNED_CHARS", 1_500)
        document = opened(text)
        for each in edits:
            if isinstance(each, str):
                document.apply_change(types.TextDocumentContentChangeWholeDocument(each))
            else:
                edit(document, *each)
                assert document.measures is not None
                counted, expected = document.measures, measure(document.lines)
                assert counted[:-1] == expected[:-1]
                assert sorted(counted.long_lines) == sorted(expected.long_lines)
            objection = objection_to(document.source, language_id, **limits)
            assert objection_to_edited(document, language_id, **limits) == objection


def test_lone_returns_end_lines() -> None:
    document = opened(("x" * 450 + "\r") * 40)
    edit(document, (3, 0), (3, 0), "y")
    assert objection_to_edited(document, "python", max_chars=10**6, max_line_chars=5_000) is None


def test_what_stands_behind_the_last_marker_is_looked_at() -> None:
    """The marker ends the last line that is needed, and the key is in the next one."""
    lines = ["x" * 389 + "\n"] * 255
    last = "#" * (100_003 - 255 * 390 - len(KEY) - 1) + KEY + "\n"
    document = opened("".join([*lines, last, "A" * 30 + "\n", *lines]))
    edit(document, (300, 0), (300, 0), "y")
    assert len("".join([*lines, last])) == 100_003
    found = objection_to_edited(document, "python", max_chars=10**6, max_line_chars=5_000)
    assert found == objection_to(document.source, "python", max_chars=10**6, max_line_chars=5_000)
    assert found is not None


@given(text=TEXTS, num_chars=st.integers(0, 3_000))
def test_the_start_of_a_document_is_long_enough(text: str, num_chars: int) -> None:
    start = opened(text).start(num_chars)
    assert text.startswith(start)
    assert start == text or len(start) >= num_chars


def test_a_key_in_a_long_document_does_not_walk_through_it(monkeypatch: pytest.MonkeyPatch) -> None:
    document = opened("x = 1\n" * 50_000)
    edit(document, (40_000, 0), (40_000, 0), "a")
    walked: list[int] = []
    plain = documents.measure
    monkeypatch.setattr(documents, "measure", lambda lines: walked.append(0) or plain(lines))
    monkeypatch.setattr(Document, "source", property(lambda self: walked.append(1)))
    edit(document, (40_000, 1), (40_000, 1), "b")
    assert objection_to_edited(document, "python", max_chars=10**6, max_line_chars=5_000) is None
    assert walked == []


class Watch:
    """An admission whose judgements of a text are counted."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, document: Document) -> None:
        policy = FilePolicy((Path("/project"),), is_trusted=True, settings=Settings())
        self.admission = Admission(policy, lambda uri: document if uri == URI else None)
        self.during = lambda: None
        self.num_judged = 0
        plain = policy._objection_to

        def counted(text: object, language_id: str | None) -> str | None:
            self.num_judged += 1
            found = plain(text, language_id)  # type: ignore[arg-type]
            self.during()
            return found

        monkeypatch.setattr(policy, "_objection_to", counted)


def test_the_same_text_is_judged_once(monkeypatch: pytest.MonkeyPatch) -> None:
    document = opened("x = 1\n")
    watch = Watch(monkeypatch, document)
    for _ in range(3):
        assert watch.admission.judge(document).is_allowed
    assert watch.num_judged == 1
    edit(document, (0, 0), (0, 0), "# ")
    assert watch.admission.is_allowed(URI, None)
    assert watch.num_judged == 2


def test_an_edit_during_a_judgement_is_judged_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """As from a thread: the client counts no versions, and a key comes in behind our back."""
    document = opened("x = 1\n")
    watch = Watch(monkeypatch, document)
    watch.during = lambda: edit(document, (0, 0), (0, 0), KEY + "\n")
    assert watch.admission.judge(document).is_allowed
    watch.during = lambda: None
    assert document.version == 1
    assert not watch.admission.judge(document).is_allowed


def test_another_document_of_the_name_is_judged_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    watch = Watch(monkeypatch, opened("x = 1\n"))
    assert watch.admission.judge(opened("x = 1\n")).is_allowed
    assert not watch.admission.judge(opened(KEY)).is_allowed


def test_a_text_that_is_about_to_be_used_is_judged_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be older than the document, which holds no key any more."""
    document = opened("x = 1\n")
    watch = Watch(monkeypatch, document)
    assert watch.admission.is_allowed(URI, None)
    assert not watch.admission.is_allowed(URI, KEY)
    assert watch.admission.is_allowed(URI, "x = 2\n")


def test_a_text_put_together_during_an_edit_is_not_kept() -> None:
    document = opened("x = 1\n")
    edit(document, (0, 0), (0, 0), "y")

    before = document.stamp
    assert document.source == "yx = 1\n"
    edit(document, (0, 0), (0, 1), "z")
    # What a thread that began before the edit leaves behind.
    document._joined = (before, "yx = 1\n")
    assert document.source == "zx = 1\n"
