"""Fill holes and Repair in real Neovims: what is in the buffer, one step of undo, the cursor."""

# Fixtures are used by their names.
# ruff: noqa: F401, F811

from __future__ import annotations

from pathlib import Path

import pytest
from neovim import Neovim
from neovim_fixtures import (
    FILL_TEXTS,
    Engine,
    editor,
    editors,
    engine,
    folder,
    kind,
    project,
    running_engine,
)

HOLES = '''FACES = "🙂🙂"


def greet(name: str) -> str:
    """Greet `name`."""
    ...


def total(values: list[int]) -> int:
    """The sum of `values`."""
    ...


LAST = 1
'''
FILLED = HOLES.replace("...", FILL_TEXTS[0], 1).replace("...", FILL_TEXTS[1], 1)
WRONG = 'def one() -> str:\n    face = "🙂"; retrun face\n\n\nLAST = 1\n'


def open_text(editor: Neovim, project: Path, text: str) -> None:
    """A file of its own with `text`, the cursor in its last line."""
    path = project / "edits.py"
    path.write_text(text, encoding="utf-8")
    editor.open(path)
    editor.press("G$")
    editor.wait_for(lambda: editor.cursor()[0] == text.count("\n") - 1)


def file_text(editor: Neovim) -> str:
    return editor.text() + "\n"


def last_message(editor: Neovim, command: str) -> str:
    num_told = len(editor.messages())
    editor.lua("vim.cmd('NemoDiff ' .. ...)", command)
    editor.wait_for(lambda: len(editor.messages()) > num_told)
    return editor.messages()[-1]


def test_holes_are_filled_in_one_edit(editor: Neovim, project: Path) -> None:
    open_text(editor, project, HOLES)
    cursor = editor.cursor()
    editor.lua("vim.cmd('NemoDiff fill')")
    editor.wait_for(lambda: file_text(editor) == FILLED)
    assert editor.cursor() == cursor
    editor.press("u")
    editor.wait_for(lambda: file_text(editor) == HOLES)
    editor.press("<C-r>")
    editor.wait_for(lambda: file_text(editor) == FILLED)


def test_only_the_holes_of_a_range_are_filled(editor: Neovim, project: Path) -> None:
    """By the mapping for a selection."""
    open_text(editor, project, HOLES)
    editor.lua("vim.keymap.set('x', 'gF', '<Plug>(nemodiff-fill)')")
    editor.press("3GV5jgF")
    expected = HOLES.replace("...", FILL_TEXTS[0], 1)
    editor.wait_for(lambda: file_text(editor) == expected)


def test_a_line_is_repaired(editor: Neovim, engine: Engine, project: Path) -> None:
    """The doubt is a diagnostic of anybody, behind text that is not ASCII."""
    open_text(editor, project, WRONG)
    editor.press("2G")
    line = WRONG.split("\n")[1]
    start = len(line[: line.index("retrun")].encode())
    editor.lua(
        "local start = ... "
        "vim.diagnostic.set(vim.api.nvim_create_namespace('a linter'), 0, {{ lnum = 1, "
        "col = start, end_lnum = 1, end_col = start + 6, message = 'misspelt' }})",
        start,
    )
    editor.wait_for(lambda: editor.cursor()[0] == 1)
    editor.lua("vim.cmd('NemoDiff repair')")
    editor.wait_for(lambda: file_text(editor) == WRONG.replace("retrun", "return"))
    assert editor.cursor()[0] == 1
    asked = engine.asked()[-1]
    ((low, high),) = asked["spans"]
    assert asked["text"] == line and asked["text"][low:high] == "retrun"
    editor.wait_for(lambda: any("changed 1 place" in each for each in editor.messages()))
    editor.press("u")
    editor.wait_for(lambda: file_text(editor) == WRONG)


def test_what_cannot_be_done_is_one_sentence(editor: Neovim, project: Path) -> None:
    open_text(editor, project, "LAST = 1\n")
    told = [last_message(editor, "fill"), last_message(editor, "repair")]
    editor.lua("vim.bo.modifiable = false")
    told.append(last_message(editor, "fill"))
    assert told == [
        "NemoDiff: There are no holes to fill in the document.",
        "NemoDiff: Nothing was changed: the model has no doubt.",
        "NemoDiff: this buffer cannot be changed ('modifiable' is off).",
    ]
    assert file_text(editor) == "LAST = 1\n"


def test_what_was_typed_meanwhile_is_not_overwritten(editor: Neovim, project: Path) -> None:
    open_text(editor, project, HOLES)
    editor.press("oB = 1<Esc>")
    editor.wait_for(lambda: file_text(editor) == HOLES + "B = 1\n")
    # The second command has Neovim tell the server of the edit at once.
    editor.lua(
        "vim.cmd('NemoDiff fill') "
        "vim.api.nvim_buf_set_lines(0, 0, 1, false, { 'FACES = 1', 'C = 1' }) "
        "vim.cmd('NemoDiff why')"
    )
    editor.wait_for(lambda: any("document changed" in each for each in editor.messages()))
    expected = HOLES.replace('"🙂🙂"', "1\nC = 1") + "B = 1\n"
    assert file_text(editor) == expected
