"""Holes of the fresh-package suite: what a user would be about to write at a cursor.

Each finder yields the holes of one kind in one file, called by `build`. No hole holds a comment,
a docstring or mostly text of a string literal, and all name something.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING

from engine.evaluation.cuts.source import Source, Token, is_docstring

if TYPE_CHECKING:
    from tree_sitter import Node

MIN_HOLE_BYTES = 2
MAX_HOLE_BYTES = 200
MAX_BLOCK_BYTES = 400
MIN_BLOCK_LINES = 2
MAX_BLOCK_LINES = 8
MAX_EXPRESSION_LINES = 4
# A lone name shorter than this is a coin toss.
_MIN_LONE_NAME_BYTES = 4
_MIN_WORD_BYTES = 4
_MIN_REST_BYTES = 3
_MAX_TYPED_TOKENS = 3
_OPENERS = frozenset({b"(", b"[", b"{"})
_CLOSERS = frozenset({b")", b"]", b"}"})
# Marks that a hole's line may end with: after any other, an operator say, the line goes on.
_LINE_ENDS = frozenset({b";", b":", b"{", b"?", b"!", b"++", b"--", *_CLOSERS})
# What an editor has already put behind the cursor, or what ends a line all the same.
_LINE_TAIL = frozenset({b";", b",", b":", *_CLOSERS})


@dataclass(frozen=True, slots=True)
class Hole:
    """Bytes [start, end) are the gold. statement_end: where a user without more text stands.

    A row without the file's further text has a suffix up to there: the rest of the statement.
    """

    kind: str
    start: int
    end: int
    statement_end: int


Finder = Callable[[Source, Random], Iterator[Hole]]


def find_lines(source: Source, random: Random) -> Iterator[Hole]:
    """The rest of a statement's first line: from its indentation or behind its first tokens."""
    for node, tokens in _first_lines(source):
        num_typed = random.randint(0, min(_MAX_TYPED_TOKENS, len(tokens) - 1))
        start = tokens[num_typed].start
        if num_typed and random.random() < 0.5:
            start = tokens[num_typed - 1].end
        end = _rest_of_line(source, start, random)
        if end is not None and _is_fit(source, start, end):
            yield Hole("line", start, end, _statement_end(source, node, end))


def find_mid_words(source: Source, random: Random) -> Iterator[Hole]:
    """The rest of a half-typed name and of its line."""
    for node, tokens in _first_lines(source):
        words = [
            token
            for token in tokens
            if token.kind == "identifier" and token.end - token.start >= _MIN_WORD_BYTES
        ]
        if not words:
            continue
        word = random.choice(words)
        # A cursor between two letters: inside a character of several bytes there is none.
        if not word.text.isascii():
            continue
        start = random.randrange(word.start + 1, word.end)
        end = _rest_of_line(source, start, random)
        if end is not None and _MIN_REST_BYTES <= end - start <= MAX_HOLE_BYTES:
            if source.is_worthy(word.start, end):
                yield Hole("mid_word", start, end, _statement_end(source, node, end))


def find_expressions(source: Source, random: Random) -> Iterator[Hole]:
    """A right-hand side, an argument or a returned value."""
    for parent_type, field in sorted(source.syntax.values, key=str):
        for parent in source.nodes(frozenset({parent_type})):
            if _is_list_of_bases(source, parent):
                continue
            values = parent.children_by_field_name(field) if field else parent.named_children
            for node in values:
                if node.type == "keyword_argument":
                    continue
                start, end = node.start_byte, node.end_byte
                if _num_lines(node) <= MAX_EXPRESSION_LINES and _is_fit(source, start, end):
                    yield Hole("expression", start, end, _statement_end(source, node, end))


def find_calls(source: Source, random: Random) -> Iterator[Hole]:
    """What is between the brackets of a call."""
    for call in source.nodes(source.syntax.calls):
        arguments = call.child_by_field_name("arguments")
        if arguments is None or arguments.type not in source.syntax.arguments:
            continue
        tokens = source.tokens_between(arguments.start_byte, arguments.end_byte)
        if len(tokens) < 3 or _num_lines(arguments) > MAX_EXPRESSION_LINES:
            continue
        # With the brackets on lines of their own the hole is the lines between them.
        start, end = tokens[1].start, tokens[-2].end
        if _is_fit(source, start, end):
            yield Hole("call", start, end, _statement_end(source, call, end))


def find_blocks(source: Source, random: Random) -> Iterator[Hole]:
    """The body of a function or of a branch, of several lines; its docstring stays."""
    for block in source.nodes(source.syntax.blocks):
        owner = block.parent
        if owner is None or owner.type in source.syntax.block_owners_skipped:
            continue
        body = block.named_children
        if len(body) == 1 and body[0].type == "statement_list":
            body = body[0].named_children
        if body and is_docstring(body[0]):
            body = body[1:]
        if not body:
            continue
        start, end = body[0].start_byte, body[-1].end_byte
        tokens = source.tokens_between(start, block.end_byte)
        if source.syntax.has_braces:
            # Behind the last statement's semicolon, which is not always part of it.
            end = tokens[-2].end if len(tokens) > 1 else end
        if _is_whole_lines(source, start, end) and source.is_worthy(start, end):
            yield Hole("block", start, end, source.line_end(block.end_byte))


FINDERS: dict[str, Finder] = {
    "line": find_lines,
    "expression": find_expressions,
    "call": find_calls,
    "block": find_blocks,
    "mid_word": find_mid_words,
}


def _is_list_of_bases(source: Source, node: Node) -> bool:
    """Whether the brackets are those of a class, which look like those of a call in Python."""
    owner = node.parent
    is_of_call = owner is not None and owner.type in source.syntax.calls
    return node.type in source.syntax.arguments and not is_of_call


def _first_lines(source: Source) -> Iterator[tuple[Node, list[Token]]]:
    """Each statement that begins a line, with the tokens of that line."""
    for statement in source.statements:
        start = statement.node.start_byte
        if source.data[source.line_start(start) : start].strip():
            continue
        tokens = source.tokens_between(start, source.line_end(start))
        if tokens:
            yield statement.node, tokens


def _rest_of_line(source: Source, start: int, random: Random) -> int | None:
    """Where a hole that begins at `start` ends in its line; None if it should not be one.

    Closing brackets that are all that is left of the line belong to the hole for one half of the
    cursors and to the suffix, as where the editor closes brackets by itself, for the other half.
    """
    line_end = source.line_end(start)
    tokens = source.tokens_between(start, line_end)
    if tokens and (tokens[-1].end > line_end or not _may_end_line(tokens[-1])):
        return None
    opened, first_unmatched = _unmatched(tokens)
    ends_in_block = source.syntax.has_braces and bool(tokens) and tokens[-1].text == b"{"
    if opened and not (ends_in_block and opened == [b"{"]):
        return None
    # Of a half-typed word the tokens hold only what is behind it.
    word = source.token_around(start)
    ends = [start if word is None else word.end, *(token.end for token in tokens)]
    if first_unmatched is not None and random.random() < 0.5:
        tail = tokens[first_unmatched:]
        if ends[first_unmatched] > start and all(token.text in _LINE_TAIL for token in tail):
            return ends[first_unmatched]
    return ends[-1]


def _unmatched(tokens: list[Token]) -> tuple[list[bytes], int | None]:
    """Brackets left open, and the index of the first that closes one opened before the tokens."""
    opened: list[bytes] = []
    first_unmatched = None
    for index, token in enumerate(tokens):
        if token.text in _OPENERS:
            opened.append(token.text)
        elif token.text in _CLOSERS and opened:
            opened.pop()
        elif token.text in _CLOSERS and first_unmatched is None:
            first_unmatched = index
    return opened, first_unmatched


def _may_end_line(token: Token) -> bool:
    is_mark = token.kind == "other" and not token.text[-1:].isalnum()
    return not is_mark or token.text in _LINE_ENDS


def _is_fit(source: Source, start: int, end: int) -> bool:
    """Whether the bytes are long and telling enough to be the gold of a row."""
    if not MIN_HOLE_BYTES <= end - start <= MAX_HOLE_BYTES:
        return False
    if len(source.tokens_between(start, end)) == 1 and end - start < _MIN_LONE_NAME_BYTES:
        return False
    return source.is_worthy(start, end)


def _is_whole_lines(source: Source, start: int, end: int) -> bool:
    """Whether the body has lines of its own, and neither too few nor too many."""
    num_lines = source.data.count(b"\n", start, end) + 1
    if not MIN_BLOCK_LINES <= num_lines <= MAX_BLOCK_LINES or end - start > MAX_BLOCK_BYTES:
        return False
    if source.data[source.line_start(start) : start].strip():
        return False
    return not source.data[end : source.line_end(end)].strip()


def _statement_end(source: Source, node: Node, end: int) -> int:
    """The end of the line on which the statement around the hole ends.

    Of a compound statement: the line of the hole's end, before its body.
    """
    current: Node | None = node
    while current is not None and current.type not in source.syntax.statements:
        if current.type in source.syntax.blocks:
            break
        current = current.parent
    is_simple = current is not None and not _has_block(source, current)
    if current is None or not is_simple:
        return source.line_end(end)
    return source.line_end(max(end, current.end_byte))


def _has_block(source: Source, node: Node) -> bool:
    """Whether a block begins within the node."""
    if node.type in source.syntax.blocks:
        return True
    return any(_has_block(source, child) for child in node.named_children)


def _num_lines(node: Node) -> int:
    return node.end_point[0] - node.start_point[0] + 1
