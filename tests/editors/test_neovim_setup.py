"""What surrounds the ghost text in Neovim: setting up, keys, commands, health, help."""

# Fixtures are used by their names.
# ruff: noqa: F401, F811

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from neovim import PLUGIN_INIT, Neovim
from neovim_fixtures import (
    COMPLETE_RETURN,
    KINDS,
    NEW,
    PLUGIN,
    ROOT,
    Engine,
    StartEditor,
    editor,
    editors,
    engine,
    folder,
    kind,
    line_of,
    new_editor,
    project,
    running_engine,
    start_editor,
    status,
    type_below,
    type_until_ghost,
    wait_for_ghost,
)

from nemodiff_lsp.completion.offer_steps import next_line, next_word


def test_the_statusline_and_its_event(editor: Neovim) -> None:
    editor.lua(
        "vim.o.statusline = \"%f %{v:lua.require'nemodiff'.status()}\" "
        "_G.num_told = 0 "
        "vim.api.nvim_create_autocmd('User', { pattern = 'NemoDiffStatus', callback = function() "
        "_G.num_told = _G.num_told + 1 end })"
    )
    type_below(editor, "return self.")
    wait_for_ghost(editor, "counts[article]")
    editor.wait_for(lambda: status(editor) == "NemoDiff")
    line = editor.lua("return vim.api.nvim_eval_statusline(vim.o.statusline, {}).str")
    assert line.endswith("stock.py NemoDiff")


def test_checkhealth(editor: Neovim) -> None:
    editor.lua("vim.cmd('checkhealth nemodiff')")
    report = editor.wait_for(lambda: "State" in editor.text() and editor.text())
    assert "Ghost text is drawn by" in report
    assert "ERROR" not in report
    assert "Its command is configured" in report


def test_the_commands_reach_the_server(editor: Neovim) -> None:
    for command in ("status", "mode ar", "why", "toggle document", "toggle document"):
        num_told = len(editor.messages())
        editor.lua("vim.cmd('NemoDiff ' .. ...)", command)
        editor.wait_for(lambda before=num_told: len(editor.messages()) > before)
    assert any("the mode is ar" in message for message in editor.messages())
    editor.lua("vim.cmd('NemoDiff nonsense')")
    assert "there is no" in editor.messages()[-1]
    completions = editor.lua("return vim.fn.getcompletion('NemoDiff toggle ', 'cmdline')")
    assert completions == ["global", "language", "document"]


def test_nothing_to_fill_or_repair_is_said(editor: Neovim) -> None:
    num_told = len(editor.messages())
    editor.press("gg")
    editor.lua("vim.cmd('1,2NemoDiff fill')")
    editor.wait_for(lambda: len(editor.messages()) > num_told)
    num_told = len(editor.messages())
    editor.lua("vim.cmd('3,3NemoDiff repair')")
    editor.wait_for(lambda: len(editor.messages()) > num_told)
    assert "nothing to repair" in editor.messages()[-1]


def test_keys_that_are_taken_are_left_alone(engine: Engine, start_editor: StartEditor) -> None:
    """A completion menu's Tab stays its own, and can fall back to ours by the public function."""
    engine.start()
    before = (
        "vim.keymap.set('i', '<Tab>', function() "
        "if not require('nemodiff').accept() then return 'menu' end end, "
        "{ expr = true, desc = 'a completion menu' })"
    )
    editor = start_editor(KINDS["neovims-own"], before=before)
    assert editor.lua("return vim.fn.maparg('<Tab>', 'i', false, true).desc") == "a completion menu"
    assert editor.lua("return require('nemodiff.keys').taken.accept") == "<Tab>"
    type_below(editor, "return self.")
    wait_for_ghost(editor, "counts[article]")
    editor.press("<Tab>")
    editor.wait_for(lambda: line_of(editor) == COMPLETE_RETURN)
    editor.press("<CR><Tab>")
    editor.wait_for(lambda: line_of(editor).strip() == "menu")


def test_enable_alone_is_enough(
    engine: Engine, start_editor: StartEditor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the one file, on the 'runtimepath', and the server on PATH."""
    bare = tmp_path / "bare"
    (bare / "lsp").mkdir(parents=True)
    (bare / "lsp" / "nemodiff.lua").write_bytes((PLUGIN / "lsp" / "nemodiff.lua").read_bytes())
    program = tmp_path / "bin" / "nemodiff"
    program.parent.mkdir()
    arguments = f"--engine-socket '{engine.socket}' --no-engine-start"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m nemodiff_lsp {arguments}\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.delenv("VIRTUAL_ENV", raising=False)
    monkeypatch.setenv("NEMODIFF_DEADLINE_MS", "60000")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    engine.start()
    editor = start_editor(KINDS["neovims-own"], plugin=str(bare), is_bare=True)
    type_below(editor, "return self.")
    type_until_ghost(editor)


def test_a_missing_server_is_one_sentence(
    project: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    if NEW is None:
        pytest.skip(KINDS["neovims-own"].skip_reason())
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    monkeypatch.delenv("VIRTUAL_ENV", raising=False)
    bare = tmp_path / "a" / "b" / "bare"
    (bare / "lsp").mkdir(parents=True)
    (bare / "lsp" / "nemodiff.lua").write_bytes((PLUGIN / "lsp" / "nemodiff.lua").read_bytes())
    options = {"plugin": str(bare), "is_bare": True}
    with Neovim(NEW, tmp_path, [], options, init=PLUGIN_INIT) as editor:
        editor.lua("vim.cmd.edit(...)", str(project / "stock.py"))
        (told,) = editor.wait_for(editor.messages)
        assert 'the command "nemodiff" was not found' in told


def test_pieces_are_the_servers(new_editor: Neovim) -> None:
    texts = [
        "a",
        "  foo(bar)",
        "\n    x = 1\ny",
        "größe.x",
        ") + 1",
        "   ",
        "\n\n a\n b",
        "a\n",
        "==",
    ]
    pieces = "local p = require('nemodiff.pieces') return { p.next_word(...), p.next_line(...) }"
    for text in texts:
        assert new_editor.lua(pieces, text) == [next_word(text), next_line(text)]


def test_the_settings_types_are_up_to_date(tmp_path: Path) -> None:
    sys.path.insert(0, str(PLUGIN))
    try:
        import write_settings
    finally:
        sys.path.remove(str(PLUGIN))
    assert write_settings.TARGET.read_text(encoding="utf-8") == write_settings.annotations(), (
        "run `python editors/neovim/write_settings.py`"
    )


def test_the_help_has_every_map_and_command(new_editor: Neovim) -> None:
    text = (PLUGIN / "doc" / "nemodiff.txt").read_text(encoding="utf-8")
    names: list[Any] = new_editor.lua(
        "local names = vim.fn.getcompletion('NemoDiff ', 'cmdline') "
        "local maps = {} "
        "for _, mode in ipairs({ 'i', 'n', 'x' }) do "
        "for _, map in ipairs(vim.api.nvim_get_keymap(mode)) do "
        "if map.lhs:find('nemodiff') then maps[map.lhs] = true end end end "
        "return { names, vim.tbl_keys(maps) }"
    )
    commands, maps = names
    assert len(commands) >= 9
    assert len(maps) >= 11
    for name in (*(f":NemoDiff {command}" for command in commands), *maps):
        assert f"*{name.replace(' ', '-')}*" in text or f"*{name}*" in text, name
    new_editor.lua("vim.cmd.helptags(...)", str(PLUGIN / "doc"))
    (PLUGIN / "doc" / "tags").unlink()


def test_the_help_has_every_option_and_function(new_editor: Neovim) -> None:
    text = (PLUGIN / "doc" / "nemodiff.txt").read_text(encoding="utf-8")
    source = (PLUGIN / "lua" / "nemodiff" / "init.lua").read_text(encoding="utf-8")
    options = re.findall(r"^---@field (\w+)\?", source, re.MULTILINE)
    assert len(options) == 5
    for name in options:
        assert f"\u2022 {name} " in text, name
    functions: list[str] = new_editor.lua("return vim.tbl_keys(require('nemodiff'))")
    for name in set(functions) - {"config", "setup"}:
        assert f" {name}(" in text, name
    keys: list[str] = new_editor.lua("return vim.tbl_keys(require('nemodiff.keys').defaults)")
    for name in keys:
        assert re.search(rf"^    <\S+>\s+{name}\s", text, re.MULTILINE), name
