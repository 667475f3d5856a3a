"""Ghost text in real Neovims: fast keys, menus, splits, macros, odd buffers, characters."""

# Fixtures are used by their names.
# ruff: noqa: F401, F811

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from neovim import Neovim
from neovim_fixtures import (
    BODY_LINE,
    COMPLETE_RETURN,
    RETURN,
    SCRIPT,
    SOURCE,
    Engine,
    Kind,
    StartEditor,
    editor,
    editors,
    engine,
    folder,
    ghost,
    kind,
    line_of,
    project,
    running_engine,
    start_editor,
    type_below,
    wait_for_ghost,
)

INDENT = " " * 8


def said(editor: Neovim) -> str:
    """What stands in Neovim's own history of messages: errors of Lua, for one."""
    return str(editor.lua("return vim.fn.execute('messages')"))


def messages_in(record: Path) -> list[dict[str, Any]]:
    """What the language server was told, in order."""
    heads = re.compile(rb"Content-Length: (\d+)\r\n\r\n")
    heard, found, at = record.read_bytes(), [], 0
    while head := heads.match(heard, at):
        at = head.end() + int(head[1])
        found.append(json.loads(heard[head.end() : at]))
    return [each for each in found if "method" in each]


def wait_for_request(editor: Neovim, keys: str) -> None:
    num_asked = len(editor.requests())
    editor.press(keys)
    editor.wait_for(lambda: len(editor.requests()) > num_asked)


def test_stale_requests_are_cancelled_on_the_wire(
    kind: Kind, engine: Engine, start_editor: StartEditor, tmp_path: Path
) -> None:
    """What an edit overtakes the server ends by itself; all else the editor has to cancel."""
    engine.start(forward_ms=1_000)
    record = tmp_path / "record"
    editor = start_editor(kind, record=record)
    wait_for_request(editor, f"{BODY_LINE + 1}Goreturn self.")
    wait_for_request(editor, "c")
    assert editor.requests()[0]["state"] == "answered"
    assert editor.requests()[0].get("texts") is None
    # Elsewhere and back, then out of insert mode.
    wait_for_request(editor, "<Left>")
    wait_for_request(editor, "<Right>")
    editor.press("<Esc>")
    editor.wait_for(lambda: editor.lua("return vim.fn.mode()") == "n")
    engine.start()
    wait_for_request(editor, "ao")
    wait_for_ghost(editor, "unts[article]")

    heard = messages_in(record)
    asked = [each["id"] for each in heard if each["method"] == "textDocument/inlineCompletion"]
    cancelled = [each["params"]["id"] for each in heard if each["method"] == "$/cancelRequest"]
    assert len(asked) == 5
    assert list(dict.fromkeys(cancelled)) == asked[1:4]
    assert not any(request.get("texts") for request in editor.requests()[:-1])


def test_text_typed_through_is_drawn_once_for_each_key(editor: Neovim) -> None:
    """And not again when the server's answer says the same."""
    type_below(editor, "return self.")
    wait_for_ghost(editor, "counts[article]")
    editor.lua(
        "_G.num_drawn = 0 local space = vim.api.nvim_get_namespaces()['nemodiff'] "
        "local set = vim.api.nvim_buf_set_extmark "
        "vim.api.nvim_buf_set_extmark = function(buffer, namespace, ...) "
        "if namespace == space then _G.num_drawn = _G.num_drawn + 1 end "
        "return set(buffer, namespace, ...) end"
    )
    num_asked = len(editor.requests())
    for key in "cou":
        left = ghost(editor)[1:]
        editor.type(key)
        wait_for_ghost(editor, left)
    editor.wait_for(lambda: len(editor.requests()) > num_asked)
    editor.wait_for(lambda: editor.requests()[-1]["state"] == "answered")
    assert ghost(editor) == "nts[article]"
    is_own = editor.lua("return not require('nemodiff.ghost_text').is_builtin()")
    assert editor.lua("return _G.num_drawn") == (3 if is_own else 0)


def test_undo_takes_back_what_was_typed_and_taken(editor: Neovim) -> None:
    type_below(editor, "return self.")
    wait_for_ghost(editor, "counts[article]")
    editor.press("<Tab>")
    editor.wait_for(lambda: line_of(editor) == COMPLETE_RETURN)
    editor.press("<Esc>u")
    editor.wait_for(lambda: editor.text() + "\n" == SOURCE)
    editor.press("<C-r>")
    editor.wait_for(lambda: editor.text().split("\n")[BODY_LINE + 1] == COMPLETE_RETURN)


def test_a_dot_repeats_what_was_taken(editor: Neovim) -> None:
    type_below(editor, "return self.")
    wait_for_ghost(editor, "counts[article]")
    editor.press("<Tab>")
    editor.wait_for(lambda: line_of(editor) == COMPLETE_RETURN)
    editor.press("<Esc>.")
    # Behind a return Python's lines are indented less.
    editor.wait_for(lambda: editor.text().count(RETURN) == 2)


def test_a_macro_replays_its_keys(editor: Neovim) -> None:
    """Tab is a tab where nothing is shown, as it is while keys are replayed."""
    editor.press(f"{BODY_LINE + 1}Gqa")
    editor.press("o")
    editor.type("return self.")
    wait_for_ghost(editor, "counts[article]")
    editor.press("<Tab>")
    editor.wait_for(lambda: line_of(editor) == COMPLETE_RETURN)
    editor.press("<Esc>q@a")
    editor.wait_for(lambda: editor.text().count("return self.") == 2)
    editor.wait_for(lambda: editor.lua("return vim.fn.mode() .. vim.fn.reg_recording()") == "n")
    assert line_of(editor).strip() == "return self."
    assert editor.lua("return vim.fn.getreg('a')") == "oreturn self.\t\x1b"
    assert said(editor).strip().count("Error") == 0


def test_a_completion_menu_is_open_at_the_same_time(editor: Neovim) -> None:
    type_below(editor, "return self.")
    wait_for_ghost(editor, "counts[article]")
    editor.lua("vim.o.completeopt = 'menuone,noinsert,noselect'")
    editor.lua("vim.fn.complete(vim.fn.col('.'), { 'counts', 'count', 'other' })")
    assert editor.lua("return vim.fn.pumvisible()") == 1
    assert ghost(editor) == "counts[article]"
    editor.type("c")
    wait_for_ghost(editor, "ounts[article]")
    assert editor.lua("return vim.fn.pumvisible()") == 1
    editor.press("<Tab>")
    editor.wait_for(lambda: line_of(editor) == COMPLETE_RETURN)
    editor.press("<Esc>")
    editor.wait_for(lambda: editor.lua("return vim.fn.mode()") == "n")
    assert line_of(editor) == COMPLETE_RETURN


def test_nothing_is_asked_in_paste_mode(editor: Neovim) -> None:
    """No mapping could take it there."""
    editor.lua("vim.o.paste = true")
    try:
        editor.press(f"{BODY_LINE + 1}Go")
        editor.type("return self.")
        editor.wait_for(lambda: line_of(editor) == "return self.")
        editor.lua("require('nemodiff').trigger()")
        assert editor.requests() == []
    finally:
        editor.lua("vim.o.paste = false")
    editor.type("c")
    wait_for_ghost(editor, "ounts[article]")


def test_two_windows_of_one_buffer(editor: Neovim) -> None:
    """What is taken goes to the cursor of the window in which it was typed."""
    editor.lua("vim.cmd('split') vim.cmd('wincmd j')")
    editor.lua("local other = vim.fn.win_getid(1) vim.api.nvim_win_set_cursor(other, { 2, 4 })")
    type_below(editor, "for article")
    editor.wait_for(lambda: "\n" in ghost(editor))
    editor.press("<Tab>")
    last = SCRIPT[1][0].split("\n")[-1]
    editor.wait_for(lambda: line_of(editor) == last)
    assert editor.cursor() == (BODY_LINE + 3, len(last))
    assert editor.lua("return vim.api.nvim_win_get_cursor(vim.fn.win_getid(1))") == [2, 4]
    # Shown no more, while a request is due.
    editor.press("<CR>")
    editor.type("return self.")
    editor.press("<C-o>:only <bar> enew!<CR>")
    editor.lua("require('nemodiff').trigger()")
    editor.wait_for(lambda: editor.lua("return vim.fn.bufname() == ''"))
    editor.press("<Esc>")
    assert "Error" not in said(editor)


def test_line_ends_of_another_system(editor: Neovim, project: Path) -> None:
    path = project / "windows.py"
    path.write_bytes(SOURCE.replace("\n", "\r\n").encode())
    editor.open(path)
    assert editor.lua("return vim.bo.fileformat") == "dos"
    type_below(editor, "for article")
    editor.wait_for(lambda: "\n" in ghost(editor))
    assert "\r" not in ghost(editor)
    editor.press("<Tab>")
    expected = (INDENT + SCRIPT[1][0]).split("\n")
    first = BODY_LINE + 1
    editor.wait_for(lambda: editor.text().split("\n")[first : first + 3] == expected)
    editor.press("<Esc>:write<CR>")
    saved = "\r\n".join(expected).encode()
    editor.wait_for(lambda: saved in path.read_bytes())


def test_columns_beyond_ascii(editor: Neovim, project: Path) -> None:
    """Before the cursor and in the text, in units of any encoding."""
    path = project / "faces.py"
    path.write_text("x = 1\n", encoding="utf-8")
    editor.open(path)
    editor.press("o")
    editor.type("s = '🙂é'; gruß")
    wait_for_ghost(editor, " = '🙂🙂' + ende")
    assert editor.cursor() == (1, len("s = '🙂é'; gruß".encode()))
    for left in (" '🙂🙂' + ende", "🙂🙂' + ende"):
        editor.press("<M-Right>")
        wait_for_ghost(editor, left)
    editor.press("<Tab>")
    editor.wait_for(lambda: line_of(editor) == "s = '🙂é'; gruß = '🙂🙂' + ende")
    assert editor.cursor() == (1, len(line_of(editor).encode()))


def test_a_buffer_without_a_name(editor: Neovim) -> None:
    editor.lua("vim.cmd('enew') vim.bo.filetype = 'python'")
    editor.wait_for(lambda: editor.lua("return vim.b.is_attached"))
    editor.press("i")
    editor.type("return self.")
    wait_for_ghost(editor, "counts[article]")
    editor.press("<Tab>")
    editor.wait_for(lambda: editor.text() == RETURN)


def test_buffers_that_are_no_files_have_no_server(editor: Neovim) -> None:
    editor.lua("vim.cmd('enew') vim.bo.buftype = 'nofile' vim.bo.filetype = 'python'")
    editor.press("i")
    editor.type("return self.")
    editor.wait_for(lambda: editor.text() == "return self.")
    assert editor.lua("return #vim.lsp.get_clients({ bufnr = 0 })") == 0
    assert editor.lua("return require('nemodiff').status()") == ""
    for act in ("trigger", "next", "dismiss", "accept", "accept_word"):
        editor.lua(f"require('nemodiff').{act}()")
    editor.press("<Esc>")
    assert editor.text() == "return self."
    assert "Error" not in said(editor)


def test_a_huge_buffer_gets_nothing_and_a_reason(editor: Neovim, project: Path) -> None:
    path = project / "huge.py"
    path.write_text("x = 1\n" * 200_000, encoding="utf-8")
    editor.open(path)
    editor.press("Goreturn self.")
    editor.wait_for(lambda: editor.requests() and editor.requests()[-1]["state"] == "answered")
    assert editor.ghosts() == []
    editor.press("<Esc>")
    editor.lua("vim.cmd('NemoDiff why')")
    editor.wait_for(lambda: any("maxFileChars" in message for message in editor.messages()))


def test_who_types_before_the_server_is_there_gets_ghost_text_without_another_key(
    kind: Kind, engine: Engine, start_editor: StartEditor
) -> None:
    """Also when the engine comes only after the request."""
    editor = start_editor(kind, settings={"deadlineMs": 50, "statistics": False}, is_early=True)
    editor.press(f"{BODY_LINE + 1}Go")
    editor.type("return self.")
    engine.start()
    wait_for_ghost(editor, "counts[article]")
