"""Pieces: the text around the holes as the engine gets it, and the new text as the editor gets it.

Called by `nemodiff_lsp.commands.fill_holes`. Pure functions of their arguments.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from nemodiff_lsp.holes.hole import Hole

_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Filling:
    """New text for a hole; None when there is none and the document stays as it is there."""

    hole: Hole
    text: str | None


def asked_holes(holes: Sequence[Hole]) -> list[Hole]:
    """The holes that the engine is asked for: of each group the first one."""
    seen: set[str] = set()
    asked = []
    for hole in holes:
        if hole.group is None or hole.group not in seen:
            asked.append(hole)
        if hole.group is not None:
            seen.add(hole.group)
    return asked


def pieces_around(
    text: str, holes: Sequence[Hole], *, max_prefix_chars: int, max_suffix_chars: int
) -> tuple[str, ...]:
    """The n + 1 texts around the n `asked_holes` of `holes`.

    What a hole replaces is in none of them, its lead is; the other holes of a group show their
    default. Text far from every hole is left out, at line ends. No lone surrogates.
    """
    asked = {id(hole) for hole in asked_holes(holes)}
    pieces: list[str] = []
    current: list[str] = []
    position = 0
    for hole in holes:
        current.append(text[position : hole.start] + hole.lead)
        position = hole.end
        if id(hole) in asked:
            pieces.append("".join(current))
            current = []
        else:
            current.append(hole.default)
    current.append(text[position:])
    pieces.append("".join(current))
    last = len(pieces) - 1
    return tuple(
        _LONE_SURROGATE.sub(
            "\ufffd",
            _without_middle(
                piece,
                head=max_suffix_chars if index > 0 else 0,
                tail=max_prefix_chars if index < last else 0,
            ),
        )
        for index, piece in enumerate(pieces)
    )


def fillings_of(holes: Sequence[Hole], texts: Sequence[str]) -> list[Filling]:
    """One for each hole, from the texts of the asked ones; an empty text fills nothing."""
    asked = asked_holes(holes)
    by_group = {hole.group: text for hole, text in zip(asked, texts, strict=True)}
    own = {id(hole): text for hole, text in zip(asked, texts, strict=True)}
    fillings = []
    for hole in holes:
        text = own[id(hole)] if hole.group is None else by_group[hole.group]
        fillings.append(Filling(hole, hole.lead + text if text else None))
    return fillings


def _without_middle(piece: str, *, head: int, tail: int) -> str:
    """`piece` without what lies more than `head` behind its start and `tail` before its end."""
    if len(piece) <= head + tail:
        return piece
    cut = piece.rfind("\n", 0, head) + 1 if head else 0
    start = piece.find("\n", len(piece) - tail) + 1 if tail else len(piece)
    # A line longer than the window is cut inside the line.
    return piece[: cut or head] + piece[start or len(piece) - tail :]
