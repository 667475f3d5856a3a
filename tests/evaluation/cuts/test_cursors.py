"""Silent cursors of each kind: the expected ones are found, debatable ones are not."""

from __future__ import annotations

import pytest

from engine.evaluation.cuts.cursors import CURSOR_FINDERS
from engine.evaluation.cuts.source import Source

from .sources import SOURCES


def marked(language: str, kind: str, text: str = "") -> str:
    """The text with a bar at each cursor."""
    source = Source.read(language, text or SOURCES[language])
    assert source is not None
    data = source.data
    for at in sorted(set(CURSOR_FINDERS[kind](source)), reverse=True):
        data = data[:at] + b"|" + data[at:]
    return data.decode()


EXPECTED = {
    ("python", "statement_end"): "path.read_text())|\n",
    ("javascript", "statement_end"): "+ amount;|\n    this.counts",
    ("typescript", "statement_end"): "+ amount;|\n    this.counts",
    ("rust", "statement_end"): "+ amount;|\n        self.counts",
    ("go", "statement_end"): "parseCounts(readFile(path))|\n",
    ("python", "string_end"): "must not be negative|",
    ("javascript", "string_end"): "must not be negative|",
    ("typescript", "string_end"): "must not be negative|",
    ("rust", "string_end"): "must not be that large|",
    ("go", "string_end"): "must not be negative|",
    ("python", "string_inside"): "must not be ne|gative",
    ("javascript", "string_inside"): "must not be ne|gative",
    ("typescript", "string_inside"): "must not be ne|gative",
    ("rust", "string_inside"): "mu|st not be that large",
    ("go", "string_inside"): "must not be ne|gative",
    ("python", "number"): "limit=1000|, retries=25|)",
    ("javascript", "number"): "limit = 1000|) {",
    ("typescript", "number"): "limit: number = 1000|) {",
    ("rust", "number"): ".max(2500|);",
    ("go", "number"): "limit, 2500|)}",
    ("python", "name_inside"): "str|eam.wri|te(",
    ("javascript", "name_inside"): "str|eam.wri|te(",
    ("typescript", "name_inside"): "str|eam.wri|te(",
    ("rust", "name_inside"): "str|eam.wri|te(",
    ("go", "name_inside"): "str|eam.Wri|te(",
    ("python", "call_name"): "json.loads|(path.read_text|())",
    ("javascript", "call_name"): "JSON.parse|(readFileSync|(path",
    ("typescript", "call_name"): "parseCounts|(readFileSync|(path",
    ("rust", "call_name"): "self.counts.get|(name).unwrap_or|(&0)",
    ("go", "call_name"): "fmt.Errorf|(",
    ("python", "call_end"): "get(name, 0)| + amount",
    ("javascript", "call_end"): "Math.min(total, this.limit)|)",
    ("typescript", "call_end"): "get(name)| ?? 0)",
    ("rust", "call_end"): "to_string()|, total",
    ("go", "call_end"): "inventory.Names()| {",
} | {(language, "comment_end"): "mistake of the caller.|\n" for language in SOURCES}


@pytest.mark.parametrize(
    ("language", "kind"), [(language, kind) for language in SOURCES for kind in CURSOR_FINDERS]
)
def test_the_expected_cursor_is_found(language: str, kind: str) -> None:
    assert EXPECTED[language, kind] in marked(language, kind)


DEBATABLE = {
    "value = other\nsecond = other(1)\n": "statement_end",
    "value = other(1)\n\nsecond = other(1)\n": "statement_end",
    "if value:\n    other(1)\nsecond = other(1)\n": "statement_end",
    "value = other(1)\ndef f(): ...\n": "statement_end",
    "value = other(1)  # why\nsecond = other(1)\n": "statement_end",
    "def f():\n    '''Text of it.'''\n    other(1)\n": "string_end",
    "other('path/to/')\nother('name: ')\nother('ab')\nother(f'abcd {x} efgh')\n": "string_end",
    "def f():\n    '''Text of it.'''\n": "string_inside",
    "other('12345678')\nother('a b c d e')\n": "string_inside",
    "other(1)\n# A comment that ends here.\n": "comment_end",
    "# A comment before any code.\nother(1)\n": "comment_end",
    "other(1)\n# A comment that goes on to the\nother(2)\n": "comment_end",
    "other(1)\n# One thing of two,\nother(2)\n": "comment_end",
    "other(1)\n# TODO make this one faster\nother(2)\n": "comment_end",
    "other(1)\n# value = other(a, b) or so\nother(2)\n": "comment_end",
    "other(1)\n# The first line of two\n# and so on: more.\n\nother(2)\n": "comment_end",
    "other(1)\n# Too short.\nother(2)\n": "comment_end",
    "value = 10\nother([20])\nother(1, 2)\n": "number",
    "value\nname = (first_name\n)\n": "name_inside",
    "other[1](2)\n(a or b)(3)\n": "call_name",
    "value = other(1)\nvalue = other(1)  # why\n": "call_end",
}


@pytest.mark.parametrize("text", DEBATABLE)
def test_a_debatable_cursor_is_left_out(text: str) -> None:
    kind = DEBATABLE[text]
    assert marked("python", kind, text) == text


def test_the_last_number_of_a_list_is_left_out() -> None:
    assert marked("python", "number", "other([10, 20], 30)\n") == "other([10|, 20], 30|)\n"


def test_types_of_typescript_are_no_literals() -> None:
    text = "function f(first: number, second: string): number { return g(first); }\n"
    assert marked("typescript", "number", text) == text


@pytest.mark.parametrize("language", SOURCES)
def test_a_cursor_changes_nothing(language: str) -> None:
    for kind in CURSOR_FINDERS:
        assert marked(language, kind).replace("|", "") == SOURCES[language].replace("|", "")
