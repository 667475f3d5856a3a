"""Holes of each kind: the expected ones are found, and what must not be one is not."""

from __future__ import annotations

from random import Random

import pytest

from engine.evaluation.cuts.holes import FINDERS, MAX_BLOCK_BYTES, MAX_HOLE_BYTES, Hole
from engine.evaluation.cuts.source import Source

from .sources import SOURCES

CASES = [(language, kind) for language in SOURCES for kind in FINDERS]


def read(language: str, text: str) -> Source:
    source = Source.read(language, text)
    assert source is not None
    return source


def holes(language: str, kind: str, text: str = "", *, seeds: int = 20) -> dict[str, Hole]:
    """Gold -> hole, of several seeds: cursors of lines and words are drawn."""
    source = read(language, text or SOURCES[language])
    found = (hole for seed in range(seeds) for hole in FINDERS[kind](source, Random(seed)))
    return {source.data[hole.start : hole.end].decode(): hole for hole in found}


EXPECTED = {
    ("python", "line"): "self.counts[name] = min(total, self.limit)",
    ("python", "expression"): "self.counts.get(name, 0) + amount",
    ("python", "call"): "self.counts.items()",
    ("python", "block"): 'stream.write(f"{name}: {count}")\n            stream.flush()',
    ("python", "mid_word"): "unts[name] = min(total, self.limit)",
    ("javascript", "line"): "const total = this.counts.get(name) + amount;",
    ("javascript", "expression"): "this.counts.get(name) + amount",
    ("javascript", "call"): "name, Math.min(total, this.limit)",
    ("javascript", "block"): 'stream.write(format(name, 10, "pieces"));\n    stream.flush();',
    ("javascript", "mid_word"): "unts.set(name, Math.min(total, this.limit));",
    ("typescript", "line"): "(const name of inventory.names()) {",
    ("typescript", "expression"): "(this.counts.get(name) ?? 0) + amount",
    ("typescript", "call"): "name, Math.min(total, this.limit)",
    ("typescript", "block"): 'stream.write(format(name, 10, "pieces"));\n    stream.flush();',
    ("typescript", "mid_word"): "nts.get(name);",
    ("rust", "line"): "self.counts.insert(name.to_string(), total.min(self.limit));",
    ("rust", "expression"): "self.counts.get(name).unwrap_or(&0) + amount",
    ("rust", "call"): "name.to_string(), total.min(self.limit)",
    ("rust", "block"): 'stream.write(format(name, 10, "pieces"));\n        stream.flush();',
    ("rust", "mid_word"): "tal.min(self.limit)",
    ("go", "line"): "total := i.counts[name] + amount",
    ("go", "expression"): "i.counts[name] + amount",
    ("go", "call"): "readFile(path)",
    ("go", "block"): 'stream.Write(format(name, 10, "pieces"))\n\t\tstream.Flush()',
    ("go", "mid_word"): "entory, nil",
}


@pytest.mark.parametrize(("language", "kind"), CASES)
def test_the_expected_hole_is_found(language: str, kind: str) -> None:
    found = holes(language, kind)
    assert EXPECTED[language, kind] in found, sorted(found)


@pytest.mark.parametrize(("language", "kind"), CASES)
def test_no_hole_holds_a_comment_an_import_or_only_text(language: str, kind: str) -> None:
    limit = MAX_BLOCK_BYTES if kind == "block" else MAX_HOLE_BYTES
    for gold in holes(language, kind):
        for unwanted in (
            "Negative",
            "Amounts",
            "Larger",
            "inventory: what",
            "Put more",
            "import",
            "//",
        ):
            assert unwanted not in gold
        assert 2 <= len(gold) <= limit
        assert gold == gold.strip() or kind == "line"
        assert gold == gold.rstrip()
        assert any(letter.isalpha() for letter in gold)


@pytest.mark.parametrize("language", SOURCES)
def test_words_are_cut_between_their_letters(language: str) -> None:
    data = SOURCES[language].encode()
    for hole in holes(language, "mid_word").values():
        assert data[hole.start - 1 : hole.start + 1].replace(b"_", b"a").isalnum()


@pytest.mark.parametrize("language", SOURCES)
def test_brackets_that_the_line_opened_before_the_cursor_may_close_on_either_side(
    language: str,
) -> None:
    text = SOURCES[language]
    found = holes(language, "mid_word", seeds=60)
    assert any(gold.count(")") > gold.count("(") for gold in found)
    assert any(text.encode()[hole.end :].startswith(b")") for hole in found.values())


@pytest.mark.parametrize("language", SOURCES)
def test_blocks_are_whole_bodies_from_their_indentation(language: str) -> None:
    text = SOURCES[language]
    for gold in holes(language, "block"):
        before, _, after = text.partition(gold)
        assert before.rpartition("\n")[2].strip() == ""
        assert after.startswith("\n") or not after
        assert 2 <= gold.count("\n") + 1 <= 8
        following = after.lstrip("\n").partition("\n")[0]
        indentation = len(before.rpartition("\n")[2])
        assert len(following) - len(following.lstrip()) < indentation
        if language != "python":
            assert following.strip().startswith("}")


def test_a_docstring_stays_before_the_block() -> None:
    text = 'def f(one):\n    """Text."""\n    two = one + 1\n    return two\n'
    assert list(holes("python", "block", text)) == ["two = one + 1\n    return two"]
    assert list(holes("python", "block", text.replace('"""Text."""', "pass"))) == [
        "pass\n    two = one + 1\n    return two"
    ]


@pytest.mark.parametrize(
    "text",
    [
        "class A:\n    first = other(1)\n    second = other(2)\n",
        "def f(a):\n    # why\n    b = a + 1\n    return b\n",
        "def f(a):\n    return a + 1\n",
        "def f(a):\n" + "    a = other(a)\n" * 9,
    ],
    ids=["class", "comment", "one line", "nine lines"],
)
def test_what_is_no_block_to_fill(text: str) -> None:
    assert not holes("python", "block", text)


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("python", "value = other(first,\n              second)\n"),
        ("python", "value = other(first)  # why\n"),
        ("python", 'value = """first\nsecond"""\n'),
        ("python", "value = other(abc\n              , second)\n"),
        ("python", 'value = join_all(first_name, """a\nb""")\n'),
        ("python", "import something_long\n"),
        ("python", "x = 1\n"),
        ("python", "self.x = 'a long text that nobody could guess'\n"),
        ("rust", "fn f() {\n    let value =\n        other(first);\n}\n"),
        ("javascript", "const value = other(first,\n  second)\n"),
    ],
)
@pytest.mark.parametrize("kind", ["line", "mid_word"])
def test_lines_that_go_on_or_tell_nothing_are_left_out(language: str, text: str, kind: str) -> None:
    assert not holes(language, kind, text)


def test_arguments_on_their_own_lines_are_a_call_without_its_brackets_lines() -> None:
    found = holes("python", "call", "value = other(\n    first,\n    second,\n)\n")
    assert list(found) == ["first,\n    second,"]


@pytest.mark.parametrize("text", ["value = other()\n", "value = other('text that is free')\n"])
def test_calls_without_names_between_the_brackets_are_left_out(text: str) -> None:
    assert not holes("python", "call", text)


def test_base_classes_are_no_arguments() -> None:
    assert not holes("python", "expression", "class Name(Parent_Name, metaclass):\n    pass\n")


def test_the_statement_around_the_hole_ends_at_its_own_last_line() -> None:
    text = (
        "def f(a):\n    value = other(\n        first_one,\n        second,\n    )\n    return a\n"
    )
    hole = holes("python", "expression", text)["first_one"]
    assert text[hole.end : hole.statement_end] == ",\n        second,\n    )"


def test_a_header_is_a_statement_without_its_body() -> None:
    text = "def f(a):\n    if other(first_one):\n        second()\n"
    hole = holes("python", "call", text)["first_one"]
    assert text[hole.end : hole.statement_end] == "):"


def test_a_block_ends_with_its_closing_brace() -> None:
    text = "function f(a) {\n  if (a) {\n    first(a);\n    second(a);\n  }\n  third(a);\n}\n"
    hole = holes("javascript", "block", text)["first(a);\n    second(a);"]
    assert text[hole.end : hole.statement_end] == "\n  }"


@pytest.mark.parametrize(("language", "kind"), CASES)
def test_the_same_random_gives_the_same_holes(language: str, kind: str) -> None:
    source = read(language, SOURCES[language])
    first = list(FINDERS[kind](source, Random(3)))
    assert first == list(FINDERS[kind](read(language, SOURCES[language]), Random(3)))
