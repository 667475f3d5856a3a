"""The Stopper on whole situations: honest text passes whole, repetition is cut, streams agree."""

from __future__ import annotations

import pytest

from engine.infill.hole import Hole
from engine.infill.stopper import Stopper
from engine.tokenizer import CodeTokenizer
from tests.models.checkpoints import TINY

TOKENIZER = CodeTokenizer(TINY / "tokenizer.json")

# name, prefix, suffix, what should be inserted
SITUATIONS = [
    ("indented text on the right", "def f(x):\n    ", "return x\n", "x = x + 1\n    "),
    (
        "decorator above the same decorator",
        "class A:\n    @property\n    def a(self):\n        return self._a\n\n    ",
        "\n\n    @property\n    def c(self):\n        return self._c\n",
        "@property\n    def b(self):\n        return self._b",
    ),
    (
        "elif above elif",
        'def f(op):\n    if op == "+":\n        return 1\n',
        '    elif op == "*":\n        return 3\n',
        '    elif op == "-":\n        return 2\n',
    ),
    (
        "method chain",
        "fn f(v: &[i32]) -> Vec<i32> {\n    let w: Vec<i32> = ",
        "\n    w\n}\n",
        "v.iter()\n        .map(|x| x + 1)\n        .collect();",
    ),
    (
        "operator at the line end",
        "function f(a, b) {\n  return ",
        "\n}\n",
        "a !== null &&\n    b !== null;",
    ),
    (
        "string of several lines",
        "def f():\n    sql = ",
        "\n    run(sql)\n",
        '"""\n    select *\n    from t\n    """',
    ),
    (
        "inside a docstring",
        'def f(a):\n    """',
        "\n    return a\n",
        'Return a.\n\n    Longer text.\n    """',
    ),
    ("template literal", "const s = ", "\nuse(s);\n", "`line one\nline two`;"),
    ("escaped quote", "    x = ", "\n    y = 2\n", 'f("\\"", g(\n        1))'),
    (
        "preprocessor lines",
        "int f(void) {\n    ",
        "\n    return 0;\n}\n",
        "a();\n#ifdef X\n    b();\n#endif\n    c();",
    ),
    ("braces closed by the editor", "function f(a) {", "}\n", "\n  return a + 1;\n"),
    (
        "object entry",
        "const m = {\n  a: {\n    x: 1,\n  },\n",
        "  c: {\n    x: 3,\n  },\n};\n",
        "  b: {\n    x: 2,\n  },\n",
    ),
    (
        "case above case",
        "    switch (x) {\n    case 1:\n        f();\n        break;\n",
        "    case 3:\n        h();\n        break;\n    }\n",
        "    case 2:\n        g();\n        break;\n",
    ),
    ("line above its like", "    out.append(1)\n", "    out.append(3)\n", "    out.append(2)\n"),
    ("header of the block below", "def f(x):\n", "        return 1\n", "    if x:\n"),
    ("rest of the line", "    return ", " + tail\n", "head + body"),
    ("arguments", "print(max(", ")\n", "a, b)"),
    ("inside a string", 'print("hello ', '")\n', "world"),
    ("import between imports", "import os\n", "import sys\n\nx = 1\n", "import re\n"),
    (
        "next statement behind a complete one",
        "def f(text):\n    count = 0",
        "\n    return count\n",
        "\n    for char in text:\n        count += 1",
    ),
]


def decode_through(prefix: str, suffix: str, generated: str) -> tuple[str, str]:
    """Feed `generated` token by token; returns (final text, streamed text)."""
    stopper = Stopper(TOKENIZER, Hole(prefix, suffix), suffix_tokens=TOKENIZER.encode(suffix))
    tokens: list[int] = []
    streamed = ""
    for token in TOKENIZER.encode(generated):
        tokens.append(token)
        is_complete = stopper(tokens)
        stable = stopper.stable_text(tokens)
        if len(stable) > len(streamed):
            assert stable.startswith(streamed)
            streamed = stable
        if is_complete:
            break
    return stopper.final_text(tokens), streamed


@pytest.mark.parametrize(
    ("prefix", "suffix", "middle"), [s[1:] for s in SITUATIONS], ids=[s[0] for s in SITUATIONS]
)
def test_honest_text_passes_whole(prefix: str, suffix: str, middle: str) -> None:
    final, streamed = decode_through(prefix, suffix, middle)
    assert final == middle
    assert final.startswith(streamed)


@pytest.mark.parametrize(
    ("prefix", "suffix", "middle"), [s[1:] for s in SITUATIONS], ids=[s[0] for s in SITUATIONS]
)
def test_what_repeats_the_suffix_is_cut(prefix: str, suffix: str, middle: str) -> None:
    """A model that does not stop goes on with the suffix and then with anything."""
    final, streamed = decode_through(prefix, suffix, f'{middle}{suffix}\nprint("junk")\n')
    assert final.rstrip() == middle.rstrip()
    assert final.startswith(streamed)


def test_one_stopper_serves_several_candidates() -> None:
    """The text of an earlier candidate must not leak into the next one."""
    stopper = Stopper(TOKENIZER, Hole("", ""), use_rules=False)
    for text in ("def", "return total", "ret", "x"):
        assert stopper.final_text(TOKENIZER.encode(text)) == text


def test_healed_characters_are_not_inserted_again() -> None:
    stopper = Stopper(TOKENIZER, Hole("ret", ""), need=b"ret")
    assert stopper.final_text(TOKENIZER.encode("return x")) == "urn x"
    assert stopper.final_text(TOKENIZER.encode("re")) == ""
