"""Each stop rule by itself: where it cuts, and where it must leave honest code alone."""

from __future__ import annotations

import pytest

from engine.infill import stops
from engine.infill.hole import Hole


def cut(text: str, at: int | None) -> str | None:
    return None if at is None else text[:at]


@pytest.mark.parametrize(
    ("prefix", "suffix", "text", "expected"),
    [
        # Text right of the cursor on the same line: one line only, its line end is the suffix's.
        ("x = foo(", ")\n", "a, b\nmore", "a, b"),
        ("x = foo(", ")\n", "a, b", None),
        # Only indentation left of the cursor: a whole line is inserted, with its line end.
        ("def f():\n", "    return x\n", "    x = 1\n    y", "    x = 1\n"),
        ("def f():\n    ", "return x\n", "\n\n    x = 1\n    y", "\n\n    x = 1\n"),
        # A blank rest of the line is no hole inside a line.
        ("x = ", "\ny = 2\n", "1\n2", None),
        ("x = ", "", "1\n2", None),
    ],
)
def test_line_end(prefix: str, suffix: str, text: str, expected: str | None) -> None:
    assert cut(text, stops.line_end(text, Hole(prefix, suffix))) == expected


@pytest.mark.parametrize(
    ("prefix", "suffix", "text", "expected"),
    [
        ("    x = ", "\n    return x\n", "1\n    y = 2", "1"),
        (
            "    x = ",
            "\n    return x\n",
            "foo(\n        1,\n    )\n    y",
            "foo(\n        1,\n    )",
        ),
        ("    x = foo(", "\n    return x\n", "1,\n  2)\n    y", "1,\n  2)"),
        # The line opened a block: more lines belong to it, until they are dedented.
        ("    if x:", "\n    return x\n", "\n        y = 1\n", None),
        ("    if ", "\n    return x\n", "x:\n        y = 1\n", None),
        # Nothing below: the text may go on.
        ("    x = ", "", "1\n    y = 2", None),
        # Brackets inside strings do not count.
        ("    x = ", "\n    return x\n", '"("\n    y', '"("'),
    ],
)
def test_statement_end(prefix: str, suffix: str, text: str, expected: str | None) -> None:
    assert cut(text, stops.statement_end(text, Hole(prefix, suffix))) == expected


@pytest.mark.parametrize(
    ("prefix", "suffix", "text", "expected"),
    [
        ("def f():\n    ", "\n\nz = 1\n", "x = 1\n    return x\nprint(2)", "x = 1\n    return x\n"),
        ("def f():\n", "", "    x = 1\n    return x\n\ndef g", "    x = 1\n    return x\n\n"),
        ("def f():\n    ", "\n", "x = [\n        1,\n    ]\n    return", None),
        ("\tif (a) {\n\t\t", "\n\t}\n", "b();\n\t}\n", "b();\n"),
        # Nothing below: the closing bracket still belongs to the text, then it ends.
        ("fn f() {\n    ", "", "x\n}\nfn", "x\n}"),
        ("x = 1\n", "\ny = 2\n", "a = 1\nb = 2\n", None),
        # Inside a line there is no second line to look at.
        ("    x = (", ")", "1\ny", None),
    ],
)
def test_dedent(prefix: str, suffix: str, text: str, expected: str | None) -> None:
    assert cut(text, stops.dedent(text, Hole(prefix, suffix))) == expected


@pytest.mark.parametrize(
    ("prefix", "suffix", "text", "expected"),
    [
        (
            "def f(a):\n    ",
            "\n    return total\n",
            "total = a\n    return total\n",
            "total = a\n",
        ),
        # The unfinished last line agrees so far, but that is no evidence yet.
        ("def f(a):\n    ", "\n    return total\n", "total = a\n    return to", None),
        # A short line comes again in honest code.
        ("if a:\n    ", "\n    }\n    }\n", "x\n    }\n", None),
        (
            "if a:\n    ",
            "\n    }\n    }\n    end_of_it()\n",
            "x\n    }\n    }\n    end_of_it()\n",
            "x\n",
        ),
        # Inside a line: the rest of the line is spelt out again.
        ("foo(", ", key=value)\n", "a, key=value)", "a"),
        ("foo(", ")\n", "bar(x)", None),
        ("def f(a):\n    ", "", "total = a\n    return total\n", None),
    ],
)
def test_suffix_repeat(prefix: str, suffix: str, text: str, expected: str | None) -> None:
    assert cut(text, stops.suffix_repeat(text, Hole(prefix, suffix))) == expected


@pytest.mark.parametrize(
    ("prefix", "suffix", "text", "kept"),
    [
        # Brackets are the business of closed_by_suffix; what it leaves is needed.
        ("foo(bar(", ")\n", "x)", "x)"),
        ("    if x", ":\n        return 1\n", " < 0:", " < 0"),
        ("  return v", ";\n}\n", "alue;", "alue"),
        ("    ", "\n    return x\n", "x = 1\n    return x", "x = 1"),
        ("    x = ", "\n", "1\n", "1"),
        # A word that merely ends like the suffix begins is no overlap.
        ("return ", "al = 1\n", "total", "total"),
        ("self.", "ame = 1\n", "name = 1", "n"),
        # The line end completes an inserted line and stays.
        ("def f():\n", "    return x\n", "    x = 1\n", "    x = 1\n"),
        ("a ", "b\n", "", ""),
    ],
)
def test_suffix_overlap(prefix: str, suffix: str, text: str, kept: str) -> None:
    overlap = stops.suffix_overlap(text, Hole(prefix, suffix))
    assert text[: len(text) - overlap] == kept


def test_stop_string_takes_the_first() -> None:
    assert stops.stop_string("abc;def\n\nx", ["\n\n", ";"]) == 3
    assert stops.stop_string("abc", [";"]) is None
    assert stops.stop_string("abc", []) is None


def test_repeated_suffix_tokens() -> None:
    suffix = list(range(10, 40))
    assert stops.repeated_suffix_tokens([1, 2, *suffix[:13]], suffix) == 13
    assert stops.repeated_suffix_tokens([1, 2, *suffix[:8]], suffix) == 0
    assert stops.repeated_suffix_tokens([*suffix[:13], 1], suffix) == 0
    assert stops.repeated_suffix_tokens([], suffix) == 0


@pytest.mark.parametrize(
    ("prefix", "suffix", "text", "kept"),
    [
        ("foo(", ")\n", "a, b)\nmore", "a, b"),
        ("print(max(", ")\n", "a, b))\nmore", "a, b)"),
        ("foo(", ")\n", "bar(x)", None),
        ("x = [", "]\n", "1, 2]", "1, 2"),
        ('print("hello ', '")\n', 'world")', "world"),
        ('print("hello ', '")\n', 'wor\\"ld', None),
        # The bracket was opened lines above.
        ("x = (\n    self.name, id", ")\n)\n", "(self)", None),
        ("foo(bar(", ")\n", "x)", None),
        ("x = 1\n", "y = 2\n", "f(a)", None),
    ],
)
def test_closed_by_suffix(prefix: str, suffix: str, text: str, kept: str | None) -> None:
    assert cut(text, stops.closed_by_suffix(text, Hole(prefix, suffix))) == kept
