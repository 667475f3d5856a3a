"""Syntax: trees of the text around the cursor, by tree-sitter: errors, and where a statement ends.

Grammars are imported when a language is first met. Without one, or without tree-sitter, every
question is answered None and the rules go by indentation and brackets.
"""

from __future__ import annotations

import importlib
from functools import cache, lru_cache
from typing import TYPE_CHECKING

from nemodiff_lsp.finishing.languages import Language
from nemodiff_lsp.finishing.site import Site

if TYPE_CHECKING:
    from tree_sitter import Node, Parser, Tree

# The document without the completion, and a few completions for it: alternatives, keystrokes.
_NUM_TREES_KEPT = 16


def num_errors(site: Site, text: str) -> int | None:
    """Syntax errors in the window with `text` inserted; None where there is no grammar."""
    if site.language.grammar is None:
        return None
    return _num_errors(site.language, site.place.prefix + text + site.place.suffix)


def first_error(site: Site, text: str) -> int | None:
    """Index in `text` where its first syntax error starts; None without one or a grammar.

    What is only missing, such as a closing brace at the end, is no error of the text.
    """
    found = _tree(site.language, site.place.prefix + text + site.place.suffix)
    if found is None:
        return None
    begin = len(site.place.prefix.encode())
    end = begin + len(text.encode())
    starts = [node.start_byte for node in _errors(found.root_node) if node.is_error]
    inside = [at for at in starts if begin < at < end]
    return _chars(text, min(inside) - begin) if inside else None


def statement_end(site: Site, text: str) -> int | None:
    """Index in `text` where the statement left of the cursor ends.

    None where there is no grammar, and where the tree does not tell: an error in the statement, or
    one that reaches beyond the text.
    """
    place = site.place
    tree = _tree(site.language, place.prefix + text + place.suffix)
    typed = place.prefix.rstrip(" \t")
    if tree is None or not typed:
        return None
    begin = len(place.prefix.encode())
    anchor = len(typed.encode()) - 1
    node: Node | None = tree.root_node.descendant_for_byte_range(anchor, anchor + 1)
    while node is not None and node.parent is not None:
        if node.parent.type in site.language.containers and node.is_named:
            break
        node = node.parent
    if node is None or node.parent is None or node.has_error:
        return None
    if not begin <= node.end_byte <= begin + len(text.encode()):
        return None
    return _chars(text, node.end_byte - begin)


def _chars(text: str, num_bytes: int) -> int:
    return len(text.encode()[:num_bytes].decode("utf-8", "ignore"))


@lru_cache(maxsize=_NUM_TREES_KEPT)
def _tree(language: Language, source: str) -> Tree | None:
    parser = _parser(language)
    return None if parser is None else parser.parse(source.encode())


@lru_cache(maxsize=4 * _NUM_TREES_KEPT)
def _num_errors(language: Language, source: str) -> int | None:
    tree = _tree(language, source)
    return None if tree is None else len(_errors(tree.root_node))


def _errors(root: Node) -> list[Node]:
    found, pending = [], [root]
    while pending:
        node = pending.pop()
        if node.is_error or node.is_missing:
            found.append(node)
        if node.has_error:
            pending.extend(node.children)
    return found


@cache
def _parser(language: Language) -> Parser | None:
    """A parser of the language; only ever used from the language server's one thread."""
    if language.grammar is None:
        return None
    module, function = language.grammar
    try:
        from tree_sitter import Language as Grammar
        from tree_sitter import Parser

        return Parser(Grammar(getattr(importlib.import_module(module), function)()))
    except (ImportError, AttributeError, ValueError, TypeError):
        # A missing wheel, or a grammar of a version that tree-sitter cannot load.
        return None
