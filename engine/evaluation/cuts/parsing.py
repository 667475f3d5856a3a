"""Syntax trees by tree-sitter: which languages there are, and whether a text has errors.

Called by the cutter and by the metrics. Without tree-sitter or a grammar the questions of the
metrics answer None, and `parse` says what is missing.
"""

from __future__ import annotations

import importlib
from functools import cache
from typing import TYPE_CHECKING

from engine.errors import EngineError

if TYPE_CHECKING:
    from tree_sitter import Language, Node, Tree

# Language -> (module, function that returns the grammar) of each grammar that may fit it.
_GRAMMARS = {
    "python": (("tree_sitter_python", "language"),),
    # In .tsx a type assertion in angle brackets is an element: two grammars, both in use.
    "typescript": (
        ("tree_sitter_typescript", "language_typescript"),
        ("tree_sitter_typescript", "language_tsx"),
    ),
    "javascript": (("tree_sitter_javascript", "language"),),
    "rust": (("tree_sitter_rust", "language"),),
    "go": (("tree_sitter_go", "language"),),
}
LANGUAGES = tuple(_GRAMMARS)


class GrammarError(EngineError):
    """A language that cannot be parsed here; one sentence with what to install."""


def parse(language: str, data: bytes) -> Tree:
    """The tree of UTF-8 `data`, with the fewest errors if several grammars fit the language.

    Raises GrammarError for a language without a grammar and when tree-sitter is not installed.
    """
    grammars = _grammars(language)
    from tree_sitter import Parser

    best, fewest = None, 0
    for grammar in grammars:
        # A Parser must not be shared between threads, and is cheap.
        tree = Parser(grammar).parse(data)
        errors = _count_errors(tree.root_node)
        if best is None or errors < fewest:
            best, fewest = tree, errors
        if fewest == 0:
            break
    assert best is not None
    return best


def num_errors(language: str, source: str) -> int | None:
    """Number of ERROR and MISSING nodes of the whole text; None where no grammar is installed."""
    try:
        tree = parse(language, source.encode("utf-8", "replace"))
    except GrammarError:
        return None
    return _count_errors(tree.root_node)


def parses(language: str, source: str) -> bool | None:
    """Whether the text has no syntax error; None where no grammar is installed."""
    errors = num_errors(language, source)
    return None if errors is None else errors == 0


def has_new_errors(
    language: str, before_hole: str, middle: str, after: str, *, gold: str = ""
) -> bool | None:
    """Whether the text has more errors with `middle` in the hole than with `gold` in it.

    An excerpt of a file may have errors of its own at its ends, which is why the two are compared;
    where those are many, a new one can be lost among them. The default compares with the text as
    it was. None where no grammar is installed.
    """
    found = num_errors(language, before_hole + middle + after)
    if found is None:
        return None
    if found == 0:
        return False
    allowed = num_errors(language, before_hole + gold + after)
    assert allowed is not None
    return found > allowed


@cache
def _grammars(language: str) -> tuple[Language, ...]:
    """Raises GrammarError."""
    if language not in _GRAMMARS:
        raise GrammarError(
            f"There is no grammar for the language {language!r}; known are {', '.join(LANGUAGES)}."
        )
    try:
        from tree_sitter import Language

        return tuple(
            Language(getattr(importlib.import_module(module), function)())
            for module, function in _GRAMMARS[language]
        )
    except ImportError as error:
        raise GrammarError(
            f"The Python package {error.name} is missing, which NemoDiff depends on; install "
            "NemoDiff again."
        ) from None


def _count_errors(root: Node) -> int:
    count, pending = 0, [root]
    while pending:
        node = pending.pop()
        if node.is_error or node.is_missing:
            count += 1
        if node.has_error:
            pending.extend(node.children)
    return count
