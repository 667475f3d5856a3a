"""Whether a document still parses: strict where it is whole, against the right text elsewhere."""

from __future__ import annotations

import pytest

from engine.evaluation import parse_check
from engine.evaluation.dataset import EvalRow
from engine.evaluation.parse_check import parses_with


def row(language: str, prompt: str, gold: str, suffix: str) -> EvalRow:
    return EvalRow(
        task_id="t",
        cluster="c",
        language=language,
        kind="line",
        prompt=prompt,
        suffix=suffix,
        gold=gold,
    )


WHOLE = row("python", "def f(x):\n    return ", "x + 1", "\n\n\nprint(f(2))\n")


@pytest.mark.parametrize(
    ("text", "parses"),
    [
        ("x + 1", True),
        ("g(x)", True),
        ("", True),
        ("x + ", False),
        ("g(x", False),
        ("x\n  y", False),
        ("x\0", False),
        ("(" * 5000, False),
        (r"'\d'", True),  # a warning only
    ],
)
def test_whole_python_documents(text: str, parses: bool, recwarn: pytest.WarningsRecorder) -> None:
    assert parses_with(WHOLE, text) is parses
    assert not recwarn


@pytest.mark.parametrize(
    ("language", "prompt", "gold", "suffix"),
    [
        # An excerpt that begins inside a class or ends inside a body has errors of its own.
        (
            "python",
            "        return 1\n\n    def g(self):\n        x = ",
            "f(2)",
            "\n        for y in\n",
        ),
        ("typescript", "  b(): void {}\n}\nconst x: number = ", "f(2)", ";\nexport class A {\n"),
        ("javascript", "const x = ", "f(2)", ";\n"),
        ("rust", "fn main() {\n    let x = ", "f(2)", ";\n}\n"),
        ("go", "package a\n\nfunc main() {\n\tx := ", "f(2)", "\n}\n"),
    ],
)
def test_excerpts_and_other_languages(language: str, prompt: str, gold: str, suffix: str) -> None:
    pytest.importorskip("tree_sitter")
    hole = row(language, prompt, gold, suffix)
    assert parses_with(hole, gold) is True
    assert parses_with(hole, "g(3, 4)") is True
    assert parses_with(hole, "f((2") is False


def test_without_a_grammar_only_whole_python_is_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parse_check, "LANGUAGES", ())
    parse_check._errors.cache_clear()
    assert parses_with(WHOLE, "x + ") is False
    assert parses_with(row("rust", "fn main() { ", "f()", " }\n"), "g()") is None
    assert parses_with(row("python", "  x = ", "1", "\n y\n"), "2") is None
    parse_check._errors.cache_clear()


def test_an_unknown_language_is_not_judged() -> None:
    assert parses_with(row("cobol", "a", "b", "c"), "d") is None
