"""Whether a text parses, and whether a completion breaks it."""

from __future__ import annotations

import sys

import pytest

from engine.errors import EngineError
from engine.evaluation.cuts import parsing
from engine.evaluation.cuts.parsing import LANGUAGES, has_new_errors, num_errors, parse, parses

from .sources import SOURCES


@pytest.fixture
def no_tree_sitter(monkeypatch: pytest.MonkeyPatch) -> None:
    # An entry of None makes the import fail as that of a package that is not there.
    monkeypatch.setitem(sys.modules, "tree_sitter", None)
    parsing._grammars.cache_clear()


def test_the_languages_are_those_of_the_sources() -> None:
    assert set(LANGUAGES) == set(SOURCES)


@pytest.mark.parametrize("language", LANGUAGES)
def test_whole_sources_parse_and_broken_ones_do_not(language: str) -> None:
    source = SOURCES[language]
    assert parses(language, source) is True
    assert num_errors(language, source) == 0
    for broken in (source.replace("(name,", "(name,,(", 1), source.replace(")", "", 1)):
        assert broken != source
        assert parses(language, broken) is False


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_text_without_its_last_line_has_an_error_or_is_python(language: str) -> None:
    cut = SOURCES[language].rstrip().rpartition("\n")[0]
    assert parses(language, cut) is (language == "python")


def test_typescript_takes_elements_and_assertions() -> None:
    assert parses("typescript", "const a = <div className='x'>{b}</div>;\n")
    assert parses("typescript", "const a = <Foo>bar;\n")


def test_missing_parts_count_as_errors() -> None:
    assert num_errors("go", "package a\n\nfunc f( {\n}\n") != 0
    assert num_errors("javascript", "if (a { b() }\n") != 0


@pytest.mark.parametrize(
    ("middle", "expected"),
    [("a, b", False), ("", False), ("a, b)", True), ("a, (b", True), ("a b c", True)],
)
def test_new_errors_in_a_whole_text(middle: str, expected: bool) -> None:
    assert has_new_errors("javascript", "const x = f(", middle, ");\n") is expected


def test_errors_that_the_excerpt_has_anyway_are_not_new() -> None:
    before, after = "class A {\n  f() {\n    return g(", ");\n  }\n"
    assert num_errors("javascript", f"{before}a{after}") != 0
    assert has_new_errors("javascript", before, "b, c", after, gold="a") is False
    assert has_new_errors("javascript", before, "b, (((c =", after, gold="a") is True


def test_text_that_is_no_unicode_is_parsed_all_the_same() -> None:
    assert parses("python", "a = '\ud800'\n") is True


@pytest.mark.parametrize("ask", [num_errors, parses])
def test_a_language_without_grammar_is_unknown(ask: object) -> None:
    assert ask("cobol", "DISPLAY 'a'.") is None  # type: ignore[operator]
    assert has_new_errors("cobol", "", "a", "") is None
    with pytest.raises(parsing.GrammarError, match="no grammar for the language 'cobol'"):
        parse("cobol", b"")


@pytest.mark.usefixtures("no_tree_sitter")
def test_without_tree_sitter_answers_are_none_and_cutting_says_what_is_missing() -> None:
    assert parses("python", "a = 1\n") is None
    assert has_new_errors("python", "a = ", "1", "\n") is None
    with pytest.raises(EngineError, match="tree_sitter is missing") as caught:
        parse("python", b"a = 1\n")
    assert "\n" not in str(caught.value)


def test_a_missing_grammar_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tree_sitter_rust", None)
    parsing._grammars.cache_clear()
    with pytest.raises(EngineError, match="tree_sitter_rust is missing"):
        parse("rust", b"")
    assert parses("go", "package a\n") is True
