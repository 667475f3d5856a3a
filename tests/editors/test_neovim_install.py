"""From nothing to ghost text in a real Neovim, by each way that the README names; and back."""

# Fixtures are used by their names.
# ruff: noqa: F401, F811

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from neovim import Neovim
from neovim_fixtures import (
    COMPLETE_RETURN,
    KINDS,
    NEW,
    PLUGIN,
    ROOT,
    Engine,
    Kind,
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
    wait_for_ghost,
)

RECORD = ROOT / "tests" / "rigs" / "neovim_record.lua"
README = (PLUGIN / "README.md").read_text(encoding="utf-8")

needs_new = pytest.mark.skipif(NEW is None, reason=KINDS["neovims-own"].skip_reason())


def snippet(title: str) -> str:
    """The Lua below a title of the README."""
    return re.search(rf"\*\*{re.escape(title)}\*\*.*?```lua\n(.*?)```", README, re.DOTALL)[1]  # type: ignore[index]


@pytest.fixture
def program(engine: Engine, tmp_path: Path) -> Path:
    """The command `nemodiff`, which joins the engine of the tests."""
    engine.start()
    path = tmp_path / "bin" / "nemodiff"
    path.parent.mkdir()
    arguments = f"--engine-socket '{engine.socket}' --no-engine-start"
    path.write_text(
        f'#!/bin/sh\n[ "$1" = lsp ] || exit 0\nshift\n'
        f'exec "{sys.executable}" -m nemodiff_lsp {arguments}\n'
    )
    path.chmod(0o755)
    return path


def environment(*folders: Path) -> dict[str, str]:
    path = os.pathsep.join([*map(str, folders), os.environ["PATH"]])
    settings = {"NEMODIFF_DEADLINE_MS": "60000", "NEMODIFF_STATISTICS": "false"}
    # An environment of Python that is active would go before what is tested here.
    return {"PATH": path, "PYTHONPATH": str(ROOT), "VIRTUAL_ENV": "", **settings}


def start(home: Path, config: str, variables: dict[str, str]) -> Neovim:
    """Neovim 0.12 with `config` as the user's init.lua."""
    init = home / "config" / "nvim" / "init.lua"
    init.parent.mkdir(parents=True, exist_ok=True)
    init.write_text(config, encoding="utf-8")
    assert NEW is not None
    editor = Neovim(NEW, home, [], {}, init=None, environment=variables)
    editor.guard_s = 60.0
    # Neovim listens while it still waits for what its configuration installs.
    editor.wait_for(lambda: editor.lua("return vim.v.vim_did_enter") == 1)
    return editor


@needs_new
def test_one_file_and_two_lines_are_enough(program: Path, project: Path, tmp_path: Path) -> None:
    """From an empty configuration, without the plugin."""
    lsp = tmp_path / "config" / "nvim" / "lsp"
    lsp.mkdir(parents=True)
    shutil.copy(PLUGIN / "lsp" / "nemodiff.lua", lsp)
    config = "vim.lsp.enable('nemodiff')\nvim.lsp.inline_completion.enable()\n"
    with start(tmp_path, config, environment(program.parent)) as editor:
        editor.lua("dofile(...)", str(RECORD))
        editor.open(project / "stock.py")
        type_below(editor, "return self.")
        wait_for_ghost(editor, "counts[article]")
        assert editor.lua("return vim.lsp.inline_completion.get()") is True
        editor.wait_for(lambda: line_of(editor) == COMPLETE_RETURN)
        assert editor.lua("return package.loaded['nemodiff'] == nil")


@pytest.fixture
def clone(program: Path, tmp_path: Path) -> Path:
    """A git repository with the plugin, in which `make setup` gives a server."""
    clone = tmp_path / "origin"
    shutil.copytree(PLUGIN, clone / "editors" / "neovim")
    (clone / "nemodiff_lsp").mkdir()
    (clone / "nemodiff_lsp" / "__init__.py").touch()
    recipe = f"setup:\n\tmkdir -p .venv/bin\n\tcp '{program}' .venv/bin/nemodiff\n"
    (clone / "Makefile").write_text(recipe, encoding="utf-8")
    who = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    for command in (["init", "-q", "-b", "main"], ["add", "."], [*who, "commit", "-qm", "a"]):
        subprocess.run(["git", *command], cwd=clone, check=True, timeout=60)
    return clone


@needs_new
@pytest.mark.skipif(shutil.which("git") is None, reason="git is not here")
def test_the_snippet_for_vim_pack(clone: Path, project: Path, tmp_path: Path) -> None:
    """Runs as it stands in the README, but for the path; the question is answered with yes."""
    config = snippet("vim.pack").replace("/path/to/your/clone", str(clone))
    config = "vim.fn.confirm = function() return 1 end\n" + config
    with start(tmp_path, config, environment()) as editor:
        editor.lua("dofile(...)", str(RECORD))
        plugins = editor.lua("return vim.pack.get()")
        assert [each["spec"]["name"] for each in plugins] == ["nemodiff"]
        editor.open(project / "stock.py")
        editor.wait_for(lambda: status(editor) == "NemoDiff")
        type_below(editor, "return self.")
        wait_for_ghost(editor, "counts[article]")
        editor.press("<Tab>")
        editor.wait_for(lambda: line_of(editor) == COMPLETE_RETURN)
        editor.press("<Esc>")
        editor.lua("vim.cmd('checkhealth nemodiff')")
        report = editor.wait_for(lambda: "State" in editor.text() and editor.text())
        assert "Found in the environment of the clone" in report
        assert "ERROR" not in report


# What lazy.nvim knows of a plugin's spec, of which the snippet may use no other.
LAZY_FIELDS = {"dir", "name", "lazy", "build", "config"}


def test_the_spec_for_lazy(new_editor: Neovim) -> None:
    """lazy.nvim itself is not run: its table is, as it would be."""
    found: dict[str, Any] = new_editor.lua(
        "local spec = assert(loadstring('return ' .. ...))() "
        "local seen = {} "
        "for name, value in pairs(spec) do seen[name] = type(value) end "
        "local before = vim.o.runtimepath "
        "spec.config({ dir = '/a/clone', name = spec.name }, {}) "
        "local after = vim.o.runtimepath "
        "vim.o.runtimepath = before "
        "return { seen, spec.build, after:sub(#before + 1) }",
        snippet("lazy.nvim"),
    )
    kinds, build, added = found
    assert set(kinds) == LAZY_FIELDS
    assert kinds == dict.fromkeys(("dir", "name", "build"), "string") | {
        "lazy": "boolean",
        "config": "function",
    }
    assert added == ",/a/clone/editors/neovim"
    assert build == "make setup && .venv/bin/nemodiff models pull"


def test_a_second_setup_changes_the_keys(editor: Neovim) -> None:
    """And neither a second server nor a second drawing of the text."""
    mapped = "return vim.fn.maparg(..., 'i')"
    before = editor.lua("return require('nemodiff.keys').defaults.accept")
    try:
        editor.lua(
            "vim.g.own_cmd = vim.lsp.get_clients({ name = 'nemodiff' })[1].config.cmd "
            "require('nemodiff').setup({ cmd = vim.g.own_cmd, keys = { accept = '<C-y>' } })"
        )
        assert "NemoDiff" in editor.lua("return vim.fn.maparg('<C-y>', 'i', false, true).desc")
        assert "NemoDiff" not in str(editor.lua("return vim.fn.maparg('<Tab>', 'i')"))
        assert editor.lua("return #vim.lsp.get_clients({ name = 'nemodiff' })") == 1
        type_below(editor, "return self.")
        wait_for_ghost(editor, "counts[article]")
        assert len(editor.ghosts()) == 1
        editor.press("<C-y>")
        editor.wait_for(lambda: line_of(editor) == COMPLETE_RETURN)
        editor.lua("require('nemodiff').setup({ cmd = vim.g.own_cmd, keys = false })")
        assert editor.lua(mapped, "<C-y>") == ""
        assert editor.lua(mapped, "<M-e>") == ""
    finally:
        editor.lua("require('nemodiff').setup({ cmd = vim.g.own_cmd })")
    assert editor.lua("return vim.fn.maparg(..., 'i', false, true).desc", before)


def test_nothing_is_left_of_a_server_that_has_ended(
    kind: Kind, engine: Engine, start_editor: StartEditor
) -> None:
    """No autocommand, no ghost text, no state, no error; another one can be started."""
    engine.start()
    editor = start_editor(kind)
    type_below(editor, "return self.")
    wait_for_ghost(editor, "counts[article]")
    editor.lua(
        "if vim.lsp.enable then vim.lsp.enable('nemodiff', false) else "
        "vim.lsp.stop_client(vim.lsp.get_clients({ name = 'nemodiff' })) end"
    )
    editor.wait_for(lambda: editor.lua("return #vim.lsp.get_clients()") == 0)
    left = (
        "return vim.tbl_filter(function(each) return each.group_name and "
        "each.group_name:find('^nemodiff%.') and each.group_name ~= 'nemodiff.start' end, "
        "vim.api.nvim_get_autocmds({}))"
    )
    editor.wait_for(lambda: editor.lua(left) == [] and editor.ghosts() == [])
    assert status(editor) == ""
    editor.type("co")
    editor.press("<Tab><Esc>")
    editor.lua("vim.cmd('NemoDiff why')")
    editor.wait_for(lambda: any("no language server" in each for each in editor.messages()))
    assert "Error" not in editor.lua("return vim.fn.execute('messages')")
    editor.lua("vim.cmd('edit!') if vim.lsp.enable then vim.lsp.enable('nemodiff') end")
    editor.wait_for(lambda: status(editor) == "NemoDiff")


GLOBALS = r"""
vim.opt.runtimepath:append(arg[1])
local made = {}
setmetatable(_G, { __newindex = function(_, name) made[#made + 1] = name end })
for _, path in ipairs(vim.fn.glob(arg[1] .. '/lua/nemodiff/*.lua', true, true)) do
  require('nemodiff.' .. vim.fn.fnamemodify(path, ':t:r'))
end
require('nemodiff').setup({ cmd = { 'true' } })
for _, name in ipairs({ 'status', 'accept', 'dismiss', 'trigger', 'next', 'is_visible' }) do
  require('nemodiff')[name]()
end
vim.cmd('checkhealth nemodiff')
print('\n' .. #made .. ' made: ' .. table.concat(made, ' '))
"""


def test_no_global_is_made(kind: Kind, tmp_path: Path) -> None:
    script = tmp_path / "globals.lua"
    script.write_text(GLOBALS, encoding="utf-8")
    command = [str(kind.program), "--clean", "-l", str(script), str(PLUGIN)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=tmp_path)
    told = run.stdout + run.stderr
    assert told.splitlines()[-1].strip() == "0 made:", told


def test_checkhealth_without_a_server(
    kind: Kind, project: Path, tmp_path: Path, start_editor: StartEditor
) -> None:
    """Neither as configured, nor to be found: an error each, with what to do."""
    bare = tmp_path / "a" / "b" / "plugin"
    shutil.copytree(PLUGIN, bare)
    editor = start_editor(kind, is_early=True, plugin=str(bare), no_command=True)
    editor.lua("vim.env.PATH, vim.env.VIRTUAL_ENV = '/usr/bin:/bin', nil")
    editor.lua("vim.cmd('checkhealth nemodiff')")
    report = editor.wait_for(lambda: "State" in editor.text() and editor.text())
    assert 'The command "nemodiff" was not found' in report
    assert "make setup" in report
    assert "No server is running" in report
    editor.lua("require('nemodiff').setup({ cmd = { 'no-such-program', 'lsp' } })")
    editor.lua("vim.cmd('checkhealth nemodiff')")
    editor.wait_for(lambda: "there is no such program: no-such-program lsp" in editor.text())


def test_checkhealth_without_a_model(
    kind: Kind, project: Path, tmp_path: Path, start_editor: StartEditor
) -> None:
    """The server runs, its engine finds no model: the engine's own sentence is shown."""
    command = [sys.executable, "-m", "nemodiff_lsp", "--model", str(tmp_path / "no-model")]
    command += ["--engine-socket", str(tmp_path / "e.sock")]
    editor = start_editor(kind, is_early=True, command=command)
    editor.wait_for(lambda: status(editor) == "NemoDiff !")
    editor.lua("vim.cmd('checkhealth nemodiff')")
    report = editor.wait_for(lambda: "State" in editor.text() and editor.text())
    assert re.search(r"ERROR.*no-model", report), report


def test_checkhealth_in_a_neovim_that_is_too_old(new_editor: Neovim) -> None:
    """None is here; this one says that it is."""
    said = new_editor.lua(
        "local has, said = vim.fn.has, {} "
        "vim.fn.has = function(what) return what == 'nvim-0.10' and 0 or has(what) end "
        "local notify = vim.notify "
        "vim.notify = function(message) said[#said + 1] = message end "
        "require('nemodiff').setup() "
        "vim.notify = notify "
        "vim.cmd('checkhealth nemodiff') "
        "vim.fn.has = has "
        "return said"
    )
    assert said == ["NemoDiff needs Neovim 0.10 or newer."]
    report = new_editor.wait_for(lambda: "Neovim" in new_editor.text() and new_editor.text())
    assert "Neovim 0.10 or newer is needed" in report
