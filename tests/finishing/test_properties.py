"""What holds for every text at every cursor: nothing raised, nothing invented, nothing broken."""

from __future__ import annotations

import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nemodiff_lsp.finishing import syntax
from nemodiff_lsp.finishing.finish import Place, finish
from nemodiff_lsp.finishing.languages import _ROWS
from nemodiff_lsp.finishing.place import WINDOW_PREFIX_CHARS, WINDOW_SUFFIX_CHARS
from nemodiff_lsp.finishing.site import site_of

# Small documents that parse.
CLEAN = {
    "python": "import os\n\n\ndef f(xs, n=3):\n    total = 0\n    for x in xs:\n"
    "        if x > n:\n            total += g(x, [1, 2])\n    return total\n\n\nclass A:\n"
    '    def m(self):\n        """Do."""\n        return {"a": self.b}\n',
    "typescript": "import { a } from './a';\n\nexport function f(x: number): number {\n"
    "  if (x > 1) {\n    return a(x, [1, 2]);\n  }\n  return 0;\n}\n\nclass B {\n"
    "  private y = 'z';\n  m() {\n    return { k: this.y };\n  }\n}\n",
    "rust": "use std::io;\n\nfn f<'a>(x: &'a str) -> usize {\n    let c = '(';\n    match x {\n"
    '        "a" => 1,\n        _ => x.len(),\n    }\n}\n\nstruct S {\n    a: u8,\n}\n',
    "go": 'package a\n\nimport "fmt"\n\nfunc f(x int) error {\n\tif x > 1 {\n'
    '\t\tfmt.Println("a", x)\n\t}\n\treturn nil\n}\n',
    "c": "#include <stdio.h>\n\nint f(int n) {\n    int s = 0;\n    for (int i = 0; i < n; i++) {\n"
    '        s += g(i, "a");\n    }\n    return s;\n}\n',
    "java": "class A {\n    private int x = 1;\n\n    int f(int n) {\n        if (n > x) {\n"
    '            return g("a", n);\n        }\n        return 0;\n    }\n}\n',
    "json": '{\n  "a": 1,\n  "b": [1, 2, {"c": "d"}],\n  "e": null\n}\n',
    "yaml": "name: x\njobs:\n  test:\n    steps:\n      - run: a\n      - uses: b\n  c: [1, 2]\n",
}
FRAGMENTS = (
    *("return ", "x", "xs", "total", "self.", "foo(", "bar", "(", ")", "[", "]", "{", "}", '"'),
    *("'", ",", ";", ":", " = ", " + ", "\n", "\n    ", "\n        ", "\n\t", "\n\t\t", "\n  "),
    *("    ", "if x:", "if (x) {", "else", "def g():", "fn g() {", "1", "a, b", "=> ", "// c"),
    *("# c", '"""', "\n}\n", "print(x)\n", "    print(value)\n", "- a", "k: v", "\r\n", "\t"),
    *("é", "中", "`", "\\"),
)
LANGUAGES = ["", "markdown", *CLEAN]
ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
CODE = st.lists(st.sampled_from(FRAGMENTS), max_size=14).map("".join)


def relaxed(max_examples: int) -> settings:
    slow = [HealthCheck.too_slow]
    return settings(max_examples=max_examples, deadline=None, suppress_health_check=slow)


@st.composite
def clean_places(draw: st.DrawFn) -> Place:
    language = draw(st.sampled_from(sorted(CLEAN)))
    document = CLEAN[language]
    cursor = draw(st.integers(0, len(document)))
    return Place(prefix=document[:cursor], suffix=document[cursor:], language_id=language)


@st.composite
def pieces(draw: st.DrawFn) -> str:
    """Texts as a model writes them: fragments, or what stands elsewhere in a document."""
    document = draw(st.sampled_from(sorted(CLEAN.values())))
    start = draw(st.integers(0, len(document)))
    stretch = document[start : start + draw(st.integers(0, 120))]
    return draw(st.sampled_from([stretch, draw(CODE), draw(CODE) + stretch, stretch + draw(CODE)]))


@st.composite
def places(draw: st.DrawFn) -> Place:
    return Place(
        prefix=draw(st.one_of(ANY_TEXT, CODE)),
        suffix=draw(st.one_of(ANY_TEXT, CODE)),
        language_id=draw(st.sampled_from(LANGUAGES)),
        tab_size=draw(st.sampled_from([None, 2, 4, 8])),
        insert_spaces=draw(st.sampled_from([None, True, False])),
    )


def without_indentation(text: str) -> str:
    return re.sub(r"^[ \t]+", "", text.replace("\r\n", "\n").replace("\r", "\n"), flags=re.M)


@relaxed(300)
@given(places(), st.one_of(ANY_TEXT, pieces()), st.booleans(), st.booleans())
def test_any_text_anywhere(place: Place, text: str, is_invoked: bool, is_draft: bool) -> None:
    """Never raises; says why iff there is nothing; the result is a piece of the text."""
    result = finish(text, place, is_invoked=is_invoked, is_draft=is_draft)
    assert (result.text == "") == (result.dropped_because is not None)
    assert "\r" not in result.text
    assert without_indentation(result.text).rstrip() in without_indentation(text)


@relaxed(300)
@given(st.one_of(places(), clean_places()), pieces(), st.booleans(), st.booleans())
def test_finishing_again_changes_nothing(
    place: Place, text: str, is_invoked: bool, is_draft: bool
) -> None:
    once = finish(text, place, is_invoked=is_invoked, is_draft=is_draft)
    again = finish(once.text, place, is_invoked=is_invoked, is_draft=False)
    assert again.text == once.text


@relaxed(300)
@given(clean_places(), pieces(), st.booleans())
def test_adds_no_error_to_code_that_parses(place: Place, text: str, is_draft: bool) -> None:
    result = finish(text, place, is_invoked=False, is_draft=is_draft)
    site = site_of(place, is_invoked=False, is_draft=is_draft)
    assert syntax.num_errors(site, "") == 0
    assert syntax.num_errors(site, result.text) == 0


@relaxed(200)
@given(clean_places(), pieces())
def test_one_line_where_text_stands_right_of_the_cursor(place: Place, text: str) -> None:
    line_before = place.prefix.rpartition("\n")[2]
    line_after = place.suffix.partition("\n")[0].strip()
    if line_before.strip() and line_after and line_after[0] != "}":
        assert "\n" not in finish(text, place, is_invoked=False, is_draft=False).text


@relaxed(200)
@given(places(), pieces())
def test_a_draft_ends_with_a_whole_word(place: Place, text: str) -> None:
    """The last word that a draft shows stands in the text as a word of its own."""
    result = finish(text, place, is_invoked=True, is_draft=True).text.rstrip()
    written = text.replace("\r\n", "\n").replace("\r", "\n")
    if result and not result[-1].isalnum():
        return
    last = result.split()[-1] if result else ""
    assert not result or re.search(re.escape(last) + r"(?!\w)", written)


@pytest.mark.parametrize("language", sorted(CLEAN))
def test_clean_documents_parse(language: str) -> None:
    place = Place(prefix=CLEAN[language], suffix="", language_id=language)
    assert syntax.num_errors(site_of(place, is_invoked=False, is_draft=False), "") == 0


@pytest.mark.parametrize("row", [row for row in _ROWS if row.grammar], ids=lambda row: row.name)
def test_every_grammar_loads(row: object) -> None:
    assert syntax._parser(row) is not None  # type: ignore[arg-type]


def test_without_a_grammar_the_rules_still_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without a grammar's wheel gets completions by indentation and brackets."""
    monkeypatch.setattr(syntax, "_parser", lambda language: None)
    syntax._tree.cache_clear()
    syntax._num_errors.cache_clear()
    place = Place(prefix="def f():", suffix="\n", language_id="python")
    text = "\n    return 1\n\n\ndef g():\n    pass"
    assert finish(text, place, is_invoked=False, is_draft=False).text == "\n    return 1"
    syntax._tree.cache_clear()
    syntax._num_errors.cache_clear()


def test_only_a_window_is_looked_at() -> None:
    """A document of any length costs no more than its window."""
    line = "value = compute(1)\n"
    long = Place(prefix=line * 20_000, suffix=line * 20_000, language_id="python")
    window = site_of(long, is_invoked=False, is_draft=False).place
    assert 0 < len(window.prefix) <= WINDOW_PREFIX_CHARS
    assert 0 < len(window.suffix) <= WINDOW_SUFFIX_CHARS
    assert window.prefix.startswith("value") and window.suffix.endswith("\n")
    assert finish("x = 1", long, is_invoked=False, is_draft=False).text == ""


def test_window_begins_and_ends_between_definitions() -> None:
    definition = "def f(x):\n    if x:\n        return 1\n    return 2\n\n\n"
    place = Place(prefix=definition * 400, suffix=definition * 400, language_id="python")
    window = site_of(place, is_invoked=False, is_draft=False).place
    assert window.prefix.startswith("def f") and window.suffix.endswith("return 2\n\n\n")
