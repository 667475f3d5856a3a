"""LineEnds: everything inside works with one kind of line end, answers get the document's back."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LineEnds:
    """newline: of the document, ``\\n`` or ``\\r\\n``; in prompts it is always the former."""

    newline: str

    @classmethod
    def of(cls, text: str) -> LineEnds:
        return cls("\r\n" if "\r\n" in text else "\n")

    def restore(self, text: str) -> str:
        if self.newline == "\n":
            return text
        return text.replace("\r\n", "\n").replace("\n", self.newline)


def plain(text: str) -> str:
    """`text` with ``\\n`` for every ``\\r\\n``."""
    return text.replace("\r\n", "\n")


def plain_index(text: str, index: int) -> int:
    """Where character `index` of `text` stands in ``plain(text)``."""
    return index - text.count("\r\n", 0, index)


def plain_starts(text: str) -> list[int]:
    """The inverse of `plain_index`: where each character of ``plain(text)`` begins in `text`, and
    where `text` ends."""
    return [at for at in range(len(text)) if text[at - 1 : at + 1] != "\r\n"] + [len(text)]
