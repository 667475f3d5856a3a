"""Whether a document still parses with a completion in its hole, judged against the right text.

Called by `figures.py`. Python is parsed by Python's own grammar where the document is whole;
excerpts of files and other languages by tree-sitter (`cuts/parsing.py`), which can be absent.
"""

from __future__ import annotations

import ast
import importlib.util
import warnings
from functools import lru_cache

from engine.evaluation.cuts.parsing import LANGUAGES, GrammarError, parse
from engine.evaluation.dataset import EvalRow

Span = tuple[str, int, str, int]
"""Where a syntax error begins and ends: ``before`` the hole, counted from the document's start;
``inside`` it; or ``behind`` it, counted from the document's end."""


def parses_with(row: EvalRow, text: str) -> bool | None:
    """Whether `text` in the hole brings no syntax error that gold in it does not have too.

    An excerpt of a file has errors of its own, at its ends. They are told by their places, not by
    their number: an error in the hole can run into one that was there. None where no grammar for
    the row's language is installed.
    """
    if row.language == "python" and _is_python(row.filled(row.gold)):
        return _is_python(row.filled(text))
    known = _errors(row.language, row.prompt, row.gold, row.suffix)
    found = None if known is None else _errors(row.language, row.prompt, text, row.suffix)
    return None if known is None or found is None else found <= known


@lru_cache(maxsize=4096)
def _is_python(source: str) -> bool:
    try:
        with warnings.catch_warnings():
            # Invalid escapes and the like are told as warnings; a document may be full of them.
            warnings.simplefilter("ignore")
            ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        # ValueError: a NUL character; the last two: brackets nested too deeply.
        return False
    return True


# Each configuration asks for the same documents with gold in them.
@lru_cache(maxsize=4096)
def _errors(language: str, prompt: str, text: str, suffix: str) -> frozenset[Span] | None:
    """The places of ERROR and MISSING nodes; None without a grammar."""
    if language not in LANGUAGES or importlib.util.find_spec("tree_sitter") is None:
        return None
    before, middle, behind = (part.encode("utf-8", "replace") for part in (prompt, text, suffix))
    data = before + middle + behind

    def place(byte: int) -> tuple[str, int]:
        if byte <= len(before):
            return "before", byte
        if byte >= len(before) + len(middle):
            return "behind", len(data) - byte
        return "inside", byte - len(before)

    try:
        pending = [parse(language, data).root_node]
    except GrammarError:
        return None
    spans: set[Span] = set()
    while pending:
        node = pending.pop()
        if node.is_error or node.is_missing:
            spans.add((*place(node.start_byte), *place(node.end_byte)))
        if node.has_error:
            pending.extend(node.children)
    return frozenset(spans)
