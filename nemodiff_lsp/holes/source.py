"""Source: a piece of code with its lines, comments and strings, and its tree where there is one.

Made by `find.py` for each search; the rules ask it what stands where.
"""

from __future__ import annotations

import importlib
from bisect import bisect_left, bisect_right
from functools import cache, cached_property
from itertools import accumulate
from typing import TYPE_CHECKING

from nemodiff_lsp.finishing.languages import Language, language_of
from nemodiff_lsp.finishing.place import Place
from nemodiff_lsp.finishing.scan import CLOSING, Scan, scan, width

if TYPE_CHECKING:
    import tree_sitter


class Source:
    """Offsets are characters of `text`, which has no ``\\r`` in it."""

    def __init__(self, text: str, language_id: str | None, path: str | None = None) -> None:
        self.text = text
        self.language: Language = language_of(
            Place(prefix="", suffix="", language_id=language_id, path=path)
        )
        self.is_stub_file = path is not None and path.endswith(".pyi")

    @cached_property
    def scan(self) -> Scan:
        """Brackets, strings and comments."""
        return scan(self.text, self.language)

    @cached_property
    def line_starts(self) -> list[int]:
        starts = [0]
        found = self.text.find("\n")
        while found >= 0:
            starts.append(found + 1)
            found = self.text.find("\n", found + 1)
        return starts

    def line_of(self, offset: int) -> int:
        """Number of the line that holds `offset`."""
        return bisect_right(self.line_starts, offset) - 1

    def line(self, number: int) -> str:
        """The line without its line end; empty beyond the text."""
        if not 0 <= number < len(self.line_starts):
            return ""
        start = self.line_starts[number]
        end = self.text.find("\n", start)
        return self.text[start:] if end < 0 else self.text[start:end]

    def width_of(self, number: int) -> int:
        """Columns of white space at the start of the line."""
        return width(self.line(number))

    @cached_property
    def _span_starts(self) -> list[int]:
        return [start for start, _, _ in self.scan.spans]

    def span_at(self, offset: int) -> tuple[int, int, str] | None:
        """(start, end, opening) of the string or comment that the character at `offset` is in."""
        index = bisect_right(self._span_starts, offset) - 1
        if index < 0:
            return None
        span = self.scan.spans[index]
        return span if offset < span[1] else None

    def is_code(self, offset: int) -> bool:
        """Whether the character at `offset` is in no string and no comment."""
        return self.span_at(offset) is None

    def is_comment(self, span: tuple[int, int, str]) -> bool:
        return span[2] == "/*" or span[2] in self.language.line_comments

    @cached_property
    def _brackets(self) -> tuple[list[int], list[str], dict[int, int]]:
        """Places of the brackets, the innermost one open behind each, and which closes which."""
        places: list[int] = []
        innermost: list[str] = []
        closing: dict[int, int] = {}
        pending: list[tuple[str, int]] = []
        for bracket in self.scan.brackets:
            if bracket.char not in CLOSING:
                pending.append((bracket.char, bracket.at))
            elif pending:
                closing[pending.pop()[1]] = bracket.at
            places.append(bracket.at)
            innermost.append(pending[-1][0] if pending else "")
        return places, innermost, closing

    def closing_of(self, offset: int) -> int | None:
        """Offset behind the bracket that closes the one at `offset`; None when nothing does."""
        closing = self._brackets[2].get(offset)
        return None if closing is None else closing + 1

    def is_in_brackets(self, offset: int, kinds: str = "([{") -> bool:
        """Whether the innermost bracket open at `offset` is one of `kinds`."""
        places, innermost, _ = self._brackets
        index = bisect_left(places, offset) - 1
        return index >= 0 and innermost[index] != "" and innermost[index] in kinds

    @cached_property
    def _root(self) -> tree_sitter.Node | None:
        grammar = None if self.language.grammar is None else _grammar(*self.language.grammar)
        if grammar is None:
            return None
        from tree_sitter import Parser

        # The node keeps its tree alive.
        return Parser(grammar).parse(self.text.encode("utf-8", "replace")).root_node

    def path_to(self, start: int, end: int) -> list[tuple[tree_sitter.Node, str | None]]:
        """The nodes around ``start`` .. ``end``, outermost first, each with its field's name.

        Empty where there is no grammar. (A node's `parent` is searched for from the root each time,
        which in a long file takes a millisecond; one walk down finds them all.)
        """
        if self._root is None:
            return []
        first, last = self._byte(start), self._byte(end)
        path: list[tuple[tree_sitter.Node, str | None]] = [(self._root, None)]
        cursor = self._root.walk()
        while cursor.goto_first_child_for_byte(first) is not None:
            node = cursor.node
            if node is None or node.start_byte > first or node.end_byte < last:
                break
            path.append((node, cursor.field_name))
        return path

    @cached_property
    def _line_start_bytes(self) -> list[int]:
        sizes = (len(line.encode("utf-8", "replace")) + 1 for line in self.text.split("\n"))
        return [0, *accumulate(sizes)]

    def _byte(self, offset: int) -> int:
        number = self.line_of(offset)
        before = self.text[self.line_starts[number] : offset]
        return self._line_start_bytes[number] + len(before.encode("utf-8", "replace"))


@cache
def _grammar(module: str, function: str) -> tree_sitter.Language | None:
    """The grammar, or None where it is not installed."""
    try:
        from tree_sitter import Language as Grammar

        return Grammar(getattr(importlib.import_module(module), function)())
    except (ImportError, AttributeError, ValueError, TypeError):
        # ValueError: a grammar built for another version of tree-sitter.
        return None
