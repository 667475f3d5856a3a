"""A terminal's screen as a picture: its cells with their colours, and the cursor."""

from __future__ import annotations

import io
import re
from itertools import groupby

from pyte.screens import Char
from rich.console import Console
from rich.style import Style
from rich.terminal_theme import TerminalTheme
from rich.text import Text
from terminal import Terminal

_ANSI = [
    *((0, 0, 0), (197, 15, 31), (19, 161, 14), (193, 156, 0)),
    *((0, 55, 218), (136, 23, 152), (58, 150, 221), (204, 204, 204)),
]
DARK = TerminalTheme((20, 22, 27), (224, 226, 234), _ANSI)
LIGHT = TerminalTheme((250, 250, 250), (30, 30, 30), _ANSI)


def to_svg(terminal: Terminal, title: str, theme: TerminalTheme = DARK) -> str:
    """The picture; equal screens give equal pictures."""
    columns = terminal.screen.columns
    console = Console(
        record=True,
        width=columns,
        file=io.StringIO(),
        force_terminal=True,
        color_system="truecolor",
    )
    for row in range(terminal.screen.lines):
        line = Text(no_wrap=True, overflow="crop", end="")
        cells = [
            (cell.data, _style(cell, is_cursor=(row, column) == terminal.cursor()))
            for column, cell in enumerate(terminal.cells(row))
        ]
        for style, same in groupby(cells, key=lambda cell: cell[1]):
            line.append("".join(data for data, _ in same), style)
        console.print(line)
    picture = console.export_svg(title=title, theme=theme, unique_id=title)
    # The picture must need nothing from elsewhere: the reader's own monospaced font will do.
    return re.sub(r"@font-face \{[^}]*\}\s*", "", picture)


def _style(cell: Char, *, is_cursor: bool) -> Style:
    return Style(
        color=_colour(cell.fg),
        bgcolor=_colour(cell.bg),
        bold=cell.bold,
        italic=cell.italics,
        underline=cell.underscore,
        reverse=cell.reverse is not is_cursor,
    )


def _colour(name: str) -> str:
    """pyte's name of a colour as rich's."""
    if re.fullmatch("[0-9a-f]{6}", name):
        return f"#{name}"
    name = name.replace("brown", "yellow")
    return re.sub("^bright(?=[a-z])", "bright_", name)
