"""A parsed source file: its tokens in order and the nodes that cuts are made at.

Built once a file by `build`, read by `holes` and `cursors`. All offsets are bytes of the UTF-8
text, as tree-sitter counts; every node and token starts and ends between two characters.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import zip_longest
from typing import TYPE_CHECKING, Literal

from engine.evaluation.cuts.parsing import parse
from engine.evaluation.cuts.syntax import SYNTAX, Syntax

if TYPE_CHECKING:
    from tree_sitter import Node

TokenKind = Literal["identifier", "number", "string", "comment", "other"]

# Names of the language in all but grammar: they make no hole worth filling.
_RECEIVERS = frozenset({b"self", b"cls", b"this", b"super"})


@dataclass(frozen=True, slots=True)
class Token:
    """A leaf of the tree; a string or comment is one token with all that is in it."""

    start: int
    end: int
    kind: TokenKind
    text: bytes


@dataclass(frozen=True, slots=True)
class Statement:
    """node: the statement. following: its next named sibling, whatever that is."""

    node: Node
    following: Node | None


class Source:
    """One file without syntax errors."""

    def __init__(self, language: str, data: bytes, root: Node) -> None:
        self.language = language
        self.data = data
        self.root = root
        self.syntax: Syntax = SYNTAX[language]
        self.tokens: list[Token] = []
        self._nodes: dict[str, list[Node]] = {}
        self._collect()
        self._starts = [token.start for token in self.tokens]

    @classmethod
    def read(cls, language: str, text: str) -> Source | None:
        """None for a text with syntax errors. Raises GrammarError."""
        data = text.encode("utf-8", "replace")
        root = parse(language, data).root_node
        return None if root.has_error else cls(language, data, root)

    def nodes(self, types: frozenset[str]) -> Iterator[Node]:
        """Nodes of the given types, each type in the file's order."""
        for name in sorted(types):
            yield from self._nodes.get(name, ())

    @cached_property
    def statements(self) -> tuple[Statement, ...]:
        """Statements of all containers; docstrings, definitions and imports are none."""
        found = []
        for container in self.nodes(self.syntax.containers):
            children = container.named_children
            for child, following in zip_longest(children, children[1:]):
                if child.type in self.syntax.statements and not is_docstring(child):
                    found.append(Statement(child, following))
        return tuple(found)

    @cached_property
    def top_level(self) -> tuple[tuple[int, int], ...]:
        """(start, end) of the file's top-level nodes."""
        return tuple((node.start_byte, node.end_byte) for node in self.root.named_children)

    def tokens_between(self, start: int, end: int) -> list[Token]:
        """Tokens that begin in [start, end)."""
        return self.tokens[bisect_left(self._starts, start) : bisect_left(self._starts, end)]

    def token_around(self, offset: int) -> Token | None:
        """The token with `offset` strictly inside it."""
        index = bisect_left(self._starts, offset) - 1
        if index < 0 or self.tokens[index].end <= offset:
            return None
        return self.tokens[index]

    def line_start(self, offset: int) -> int:
        return self.data.rfind(b"\n", 0, offset) + 1

    def line_end(self, offset: int) -> int:
        """Offset of the newline that ends the line, or the length of the file."""
        found = self.data.find(b"\n", offset)
        return len(self.data) if found < 0 else found

    def is_worthy(self, start: int, end: int) -> bool:
        """Whether the text holds a name of at least two letters, no comment, and mostly no text.

        What is inside string literals can be guessed by nobody; code can.
        """
        tokens = self.tokens_between(start, end)
        if any(token.kind == "comment" for token in tokens):
            return False
        in_strings = sum(token.end - token.start for token in tokens if token.kind == "string")
        return 2 * in_strings <= end - start and any(
            token.kind == "identifier" and len(token.text) > 1 and token.text not in _RECEIVERS
            for token in tokens
        )

    def _collect(self) -> None:
        syntax = self.syntax
        kinds: dict[str, TokenKind] = dict.fromkeys(syntax.numbers, "number")
        kinds |= dict.fromkeys(syntax.strings, "string")
        kinds |= dict.fromkeys(syntax.comments, "comment")
        cursor = self.root.walk()
        while True:
            node = cursor.node
            assert node is not None
            self._nodes.setdefault(node.type, []).append(node)
            # The keyword types `number` and `string` of TypeScript are leaves without a name.
            kind = kinds.get(node.type) if node.is_named else None
            if kind is not None or node.child_count == 0:
                self._add_token(node, kind)
            elif cursor.goto_first_child():
                continue
            while not cursor.goto_next_sibling():
                if not cursor.goto_parent():
                    return

    def _add_token(self, node: Node, kind: TokenKind | None) -> None:
        text = self.data[node.start_byte : node.end_byte]
        # A doc comment of Rust ends with its newline; some grammars have empty or blank leaves.
        stripped = text.rstrip()
        if not stripped:
            return
        if kind is None:
            kind = "identifier" if node.is_named and "identifier" in node.type else "other"
        end = node.start_byte + len(stripped)
        self.tokens.append(Token(node.start_byte, end, kind, stripped))


def is_docstring(node: Node) -> bool:
    """Whether a statement is nothing but a string literal (Python)."""
    return (
        node.type == "expression_statement"
        and node.named_child_count == 1
        and node.named_child(0).type in ("string", "concatenated_string")
    )
