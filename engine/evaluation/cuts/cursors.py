"""Cursors of the stay-silent suite: places in a finished file where nothing should be offered.

Each finder yields the offsets of one kind in one file, called by `build`. A place where a user
might well be about to write is left out, however complete the file is: blank lines between two
definitions, the end of a file or of a body, behind an opening brace or colon, the end of a
docstring, empty brackets, the end of a text that ends in a space or a colon.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from engine.evaluation.cuts.source import Source, Token, is_docstring

_MIN_STRING_BYTES = 4
_MIN_WORD_BYTES = 5
_MIN_COMMENT_WORDS = 4
_INTERPOLATIONS = frozenset({"interpolation", "template_substitution"})
# A statement that ends like this cannot be meant to go on.
_ENDS_A_STATEMENT = frozenset({b")", b"]", b"}", b";"})
_FINISHED_STRING = re.compile(rb"[A-Za-z0-9.!?]$")
_INSIDE_A_WORD = re.compile(rb"(?<=[A-Za-z]{2})(?=[A-Za-z]{2})")
_COMMENT_MARKS = "#/*! \t"
# Remarks to tools, legal remarks, code that was commented out, and notes of what is missing.
_NO_PROSE = re.compile(
    r"[{}<>=;|\\@$]|\w\(|--|://|\b(todo|fixme|xxx|hack|noqa|type:|pylint|pragma|eslint|prettier|"
    r"nolint|go:|mypy|ruff|fmt:|isort|copyright|licen[cs]e|spdx|etc|e\.g|i\.e)",
    re.IGNORECASE,
)
_FINISHED_PROSE = re.compile(r"[a-z0-9)`'\"]\.?$", re.IGNORECASE)
# The last word of a sentence that goes on.
_OPEN_WORDS = frozenset(
    "a an the and or but of to in on for with by from as at is are be if when that which "
    "not no we this these it its into than then so because".split()
)

CursorFinder = Callable[[Source], Iterator[int]]


def find_statement_ends(source: Source) -> Iterator[int]:
    """Ends of one-line statements with another statement on the very next line."""
    for statement in source.statements:
        node, following = statement.node, statement.following
        if following is None or following.type not in source.syntax.statements:
            continue
        row, column = following.start_point
        if (row, column) != (node.start_point[0] + 1, node.start_point[1]):
            continue
        tokens = source.tokens_between(node.start_byte, source.line_end(node.start_byte))
        last = tokens[-1]
        if last.end == source.line_end(last.end) and (
            last.text in _ENDS_A_STATEMENT or last.kind in ("string", "number")
        ):
            yield last.end


def find_string_ends(source: Source) -> Iterator[int]:
    """Before the closing quote of a literal whose text is finished."""
    for start, end in _literals(source):
        if _FINISHED_STRING.search(source.data, start, end):
            yield end


def find_string_insides(source: Source) -> Iterator[int]:
    """Between two letters of a word within a finished literal."""
    for start, end in _literals(source):
        places = [found.start() for found in _INSIDE_A_WORD.finditer(source.data, start, end)]
        if places:
            yield places[len(places) // 2]


def find_comment_ends(source: Source) -> Iterator[int]:
    """The end of a comment's last line, when it is prose that says what it has to say."""
    previous_end = -1
    for index, token in enumerate(source.tokens):
        if token.kind != "comment":
            previous_end = token.end
            continue
        following = source.tokens[index + 1] if index + 1 < len(source.tokens) else None
        # Licence headers stand before any code.
        if previous_end >= 0 and following is not None and _is_finished_comment(source, token):
            if _is_on_next_line(source, token, following):
                yield token.end


def find_numbers(source: Source) -> Iterator[int]:
    """Behind a number of several digits that the line's code goes on after."""
    for token in source.tokens:
        # A list of numbers may well be meant to get another one.
        is_last = source.data[token.end : token.end + 1] == b"]"
        if token.kind == "number" and token.end - token.start > 1 and not is_last:
            if _goes_on(source, token.end):
                yield token.end


def find_name_insides(source: Source) -> Iterator[int]:
    """Between two letters of a name that the line's code goes on after."""
    for token in source.tokens:
        if token.kind != "identifier" or token.end - token.start < _MIN_WORD_BYTES:
            continue
        places = [at.start() for at in _INSIDE_A_WORD.finditer(source.data, token.start, token.end)]
        if places and _goes_on(source, token.end):
            yield places[len(places) // 2]


def find_call_names(source: Source) -> Iterator[int]:
    """Between the name of a called function and the bracket of its arguments."""
    for call in source.nodes(source.syntax.calls):
        arguments = call.child_by_field_name("arguments")
        if arguments is None or arguments.type not in source.syntax.arguments:
            continue
        at = arguments.start_byte
        before = source.tokens_between(max(0, at - 200), at)
        if before and before[-1].end == at and before[-1].kind == "identifier":
            yield at


def find_call_ends(source: Source) -> Iterator[int]:
    """Behind the closing bracket of a call that the line's code goes on after."""
    for call in source.nodes(source.syntax.calls):
        if source.data[call.end_byte - 1 : call.end_byte] == b")":
            if _goes_on(source, call.end_byte):
                yield call.end_byte


CURSOR_FINDERS: dict[str, CursorFinder] = {
    "statement_end": find_statement_ends,
    "string_end": find_string_ends,
    "string_inside": find_string_insides,
    "comment_end": find_comment_ends,
    "number": find_numbers,
    "name_inside": find_name_insides,
    "call_name": find_call_names,
    "call_end": find_call_ends,
}


def _literals(source: Source) -> Iterator[tuple[int, int]]:
    """(start, end) of the text of literals on one line, without docstrings and templates."""
    for node in source.nodes(source.syntax.strings):
        if node.child_count < 2 or node.start_point[0] != node.end_point[0]:
            continue
        if node.parent is not None and is_docstring(node.parent):
            continue
        if any(child.type in _INTERPOLATIONS for child in node.children):
            continue
        start, end = node.child(0).end_byte, node.child(node.child_count - 1).start_byte
        if end - start >= _MIN_STRING_BYTES:
            yield start, end


def _goes_on(source: Source, offset: int) -> bool:
    """Whether code follows on the line, and not only what ends every line."""
    tokens = source.tokens_between(offset, source.line_end(offset))
    return bool(tokens) and tokens[0].kind != "comment"


def _is_finished_comment(source: Source, token: Token) -> bool:
    lines = token.text.decode("utf-8").splitlines()
    first = lines[0].strip(_COMMENT_MARKS)
    last = lines[-1].strip(_COMMENT_MARKS)
    words = last.split()
    return (
        len(lines) == 1
        and len(words) >= _MIN_COMMENT_WORDS
        and _NO_PROSE.search(first) is None
        and _FINISHED_PROSE.search(last) is not None
        and words[-1].lower() not in _OPEN_WORDS
        and source.line_end(token.end) == token.end
    )


def _is_on_next_line(source: Source, comment: Token, following: Token) -> bool:
    """Whether `following` is code that begins the very next line, no less indented."""
    next_line = source.line_end(comment.end) + 1
    indentation = following.start - source.line_start(following.start)
    begins = source.data[source.line_start(comment.start) : comment.start]
    own_line = not begins.strip()
    return (
        following.kind != "comment"
        and source.line_start(following.start) == next_line
        and (not own_line or indentation == len(begins))
    )
