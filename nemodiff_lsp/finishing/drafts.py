"""Drafts: text that a deadline has cut, brought back to its last whole word."""

from __future__ import annotations

from unicodedata import combining


def whole_words(text: str) -> str:
    """`text` without the word at its end, which may be half of one.

    Text that ends with something else, a bracket or a blank, is whole. A quote or a backslash at
    the end may be half of an escape.
    """
    end = len(text)
    while end and _is_word(text[end - 1]):
        end -= 1
    while end and text[end - 1] == "\\":
        end -= 1
    return text[:end]


def _is_word(char: str) -> bool:
    # Marks that combine with the letter before them are part of the word.
    is_joined = not char.isprintable() and not char.isspace()
    return char.isalnum() or char in "_$" or is_joined or combining(char) != 0
