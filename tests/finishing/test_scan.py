"""Scans that go on from what is known of an earlier text, against scans of the whole text."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nemodiff_lsp.finishing import scan as scans
from nemodiff_lsp.finishing.languages import Language, language_of
from nemodiff_lsp.finishing.place import Place
from nemodiff_lsp.finishing.scan import scan, scan_whole, scan_with

LANGUAGES = ["", "markdown", "python", "typescript", "rust", "go", "c", "java", "json", "yaml"]
# Whatever opens or closes something, alone and in pieces.
SIGNS = (
    *("(", ")", "[", "]", "{", "}", '"', "'", "`", '"""', "'''", '""', "\\", "/*", "*/", "/", "*"),
    *("//", "#", "--", "--[[", "]]", "\n", "\n", "\n    ", "a", "'a'", "'\\n'", "rb", "abc", " "),
)
CODE = st.lists(st.sampled_from(SIGNS), max_size=24).map("".join)


def of(language_id: str) -> Language:
    return language_of(Place(prefix="", suffix="", language_id=language_id))


@pytest.mark.parametrize("language_id", LANGUAGES)
@given(texts=st.lists(CODE, min_size=1, max_size=4))
@settings(deadline=None)
def test_going_on_finds_what_a_whole_scan_finds(language_id: str, texts: list[str]) -> None:
    language = of(language_id)
    for number in range(len(texts)):
        before, whole = "".join(texts[:number]), "".join(texts[: number + 1])
        expected = scan_whole(whole, language)
        assert scan(whole, language) == expected
        assert scan_with(before, texts[number], language) == expected


def test_typing_along_a_line_does_not_scan_the_lines_above(monkeypatch: pytest.MonkeyPatch) -> None:
    scanned: list[int] = []
    plain = scans._scan

    def counted(text: str, language: Language, start: int) -> scans.Scan:
        scanned.append(len(text) - start)
        return plain(text, language, start)

    monkeypatch.setattr(scans, "_scan", counted)
    above, line = "def f(x):\n    return (x)\n" * 40 + "# only here\n", "total = f(g(1))"
    for end in range(1, len(line) + 1):
        scan(above + line[:end], of("python"))
    assert scanned.pop(0) == len(above), "the lines above, once"
    assert scanned == list(range(1, len(line) + 1))
