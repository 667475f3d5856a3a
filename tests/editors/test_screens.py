"""Editors in a terminal, set up by one command from an empty home folder, with the default model.

Marked slow. Skipped where an editor or the model is missing. What is looked at is the screen
itself: the cells that the editor drew, and their colours.
"""

from __future__ import annotations

import ast
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from screens import EDITORS, EXAMPLE, HOLE_LINE, TYPED, home, type_and_take
from svg import to_svg
from terminal import Terminal, readable

from engine.weights.store import cache_folder


@pytest.fixture(scope="module")
def environment(default_model: Path) -> Iterator[dict[str, str]]:
    """Of one new user, whose editors share one engine."""
    with home(cache_folder()) as made:
        yield made


@pytest.mark.slow
@pytest.mark.parametrize("name", EDITORS)
def test_one_command_brings_ghost_text(name: str, environment: dict[str, str]) -> None:
    """What is offered on the screen is what is in the saved file after it was taken."""
    if not EDITORS[name].is_here():
        pytest.skip(f"{name.capitalize()} is not here: run `make rigs`")
    seen = type_and_take(name, environment)
    assert seen.offer.strip()
    assert "quantity" in seen.offer
    saved = seen.text.split("\n")
    # Emacs and Helix have columns of their own left of the text.
    assert saved[HOLE_LINE - 1].strip() == re.sub(r"^\s*\d+\s", "", seen.line).strip()
    assert saved[HOLE_LINE - 1].lstrip().startswith(TYPED.rstrip())
    before = EXAMPLE.read_text(encoding="utf-8").split("\n")
    assert (
        saved[: HOLE_LINE - 1] + saved[HOLE_LINE:] == before[: HOLE_LINE - 1] + before[HOLE_LINE:]
    )
    ast.parse(seen.text)
    assert _words(seen.offer) <= _words(re.sub(r"<[^>]*>", " ", seen.picture))


def _words(text: str) -> set[str]:
    return set(re.findall(r"\w+", text))


@pytest.fixture
def drawn(tmp_path: Path) -> Iterator[Terminal]:
    """A terminal in which a program has drawn code, and grey text behind the cursor."""
    code = (
        "import sys, time; sys.stdout.write('\\x1b[>1u\\x1bP+q54\\x1b\\\\\\x1b[1;1Hself "
        "\\x1b[38:2::79:82:88m+= 1\\x1b[0m\\x1b[4:3mx\\x1b[4:0my\\x1b[1;6H');"
        "sys.stdout.flush(); time.sleep(60)"
    )
    command = [sys.executable, "-c", code]
    with Terminal(command, os.environ, tmp_path, columns=20, rows=3) as terminal:
        terminal.wait_for(lambda: "y" in terminal.text())
        terminal.settle(0.1)
        yield terminal


def test_the_screen_has_what_was_drawn(drawn: Terminal) -> None:
    assert drawn.text().rstrip() == "self += 1xy"
    assert drawn.cursor() == (0, 5)
    assert [cell.fg for cell in drawn.cells(0)[4:7]] == ["default", "4f5258", "4f5258"]
    assert [cell.underscore for cell in drawn.cells(0)[9:12]] == [True, False, False]


def test_the_picture_has_the_cells_and_their_colours(drawn: Terminal) -> None:
    picture = to_svg(drawn, "drawn")
    assert picture == to_svg(drawn, "drawn")
    assert "#4f5258" in picture
    assert "+=" in re.sub(r"<[^>]*>", "", picture)
    assert "url(" not in re.sub(r"url\(#", "", picture), "a picture needs nothing from elsewhere"


@pytest.mark.parametrize("cut", range(1, 12))
def test_a_command_may_come_in_two_pieces(cut: int) -> None:
    written = b"a\x1b[38;5;7mb\x1b[>4;2mc"
    drawn, unread = readable(written[:cut])
    rest, unread = readable(unread + written[cut:])
    assert (drawn + rest, unread) == (b"a\x1b[38;5;7mbc", b"")


def test_a_program_that_ends_is_told(tmp_path: Path) -> None:
    with (
        Terminal([sys.executable, "-c", "print('gone')"], os.environ, tmp_path) as terminal,
        pytest.raises(AssertionError, match="ended"),
    ):
        terminal.wait_for(lambda: False)
