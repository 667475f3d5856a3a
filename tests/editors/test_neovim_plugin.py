"""Ghost text in real Neovims: drawn by Neovim and by the plugin, shown, taken, hidden."""

# Fixtures are used by their names.
# ruff: noqa: F401, F811

from __future__ import annotations

from pathlib import Path

import pytest
from neovim import Neovim
from neovim_fixtures import (
    BODY_LINE,
    COMPLETE_RETURN,
    SCRIPT,
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
    new_editor,
    project,
    running_engine,
    start_editor,
    status,
    type_below,
    type_until_ghost,
    wait_for_ghost,
)


def test_ghost_text_appears_and_is_accepted(editor: Neovim) -> None:
    type_below(editor, "return self.")
    wait_for_ghost(editor, "counts[article]")
    assert "counts[article]" not in line_of(editor), "what is not taken is not in the buffer"
    editor.press("<Tab>")
    editor.wait_for(lambda: line_of(editor) == COMPLETE_RETURN)
    assert editor.cursor() == (BODY_LINE + 1, len(COMPLETE_RETURN))
    assert editor.ghosts() == []


def test_several_lines_are_accepted(editor: Neovim) -> None:
    type_below(editor, "for article")
    rest = SCRIPT[1][0][len("for article") :]
    wait_for_ghost(editor, rest)
    editor.press("<Tab>")
    expected = ("        " + SCRIPT[1][0]).split("\n")
    first = BODY_LINE + 1
    editor.wait_for(lambda: editor.text().split("\n")[first : first + 3] == expected)
    assert editor.cursor() == (first + 2, len(expected[-1]))


def test_text_typed_through_is_not_doubled(editor: Neovim) -> None:
    """Taken while its beginning is being typed, before the server was asked again."""
    type_below(editor, "return self.")
    wait_for_ghost(editor, "counts[article]")
    num_asked = len(editor.requests())
    editor.type("cou")
    editor.wait_for(lambda: line_of(editor) == "        return self.cou")
    wait_for_ghost(editor, "nts[article]")
    editor.press("<Tab>")
    editor.wait_for(lambda: line_of(editor) == COMPLETE_RETURN)
    assert len(editor.requests()) <= num_asked + 1


def test_other_text_hides_what_does_not_fit(editor: Neovim) -> None:
    type_below(editor, "return self.")
    wait_for_ghost(editor, "counts[article]")
    editor.type("t")
    wait_for_ghost(editor, "otal(article)")


def test_fast_typing_shows_only_the_newest(
    kind: Kind, engine: Engine, start_editor: StartEditor
) -> None:
    """Against a slow engine; what is overtaken is never shown."""
    engine.start(forward_ms=400)
    editor = start_editor(kind)
    editor.press(f"{BODY_LINE + 1}Go")
    typed = "return self.coun"
    for at, key in enumerate(typed):
        num_asked = len(editor.requests())
        editor.type(key)
        if at % 5 == 4:
            # Types on as soon as a request is under way, without looking at its answer.
            editor.wait_for(lambda before=num_asked: len(editor.requests()) > before)
            assert editor.ghosts() == []
    wait_for_ghost(editor, "ts[article]")
    requests = editor.requests()
    *overtaken, newest = requests
    assert 2 <= len(overtaken) < len(typed)
    assert newest["texts"] == ["ts[article]"]
    assert not any(request.get("texts") for request in overtaken)


def test_a_newer_request_cancels_the_older_one(new_editor: Neovim) -> None:
    """And its answer, should it come all the same, is dropped."""
    seen = new_editor.lua(
        """
        local requests = require('nemodiff.requests')
        local seen, answers = { cancelled = 0, shown = {} }, {}
        for at = 1, 2 do
          requests.ask({ id = 1 }, vim.api.nvim_get_current_buf(), function(handler)
            answers[at] = handler
            return function() seen.cancelled = seen.cancelled + 1 end
          end, function(_, result) table.insert(seen.shown, result.items[1].insertText) end)
        end
        for at = 1, 2 do
          answers[at](nil, { items = { { insertText = 'answer ' .. at } } })
        end
        return seen
        """
    )
    assert seen == {"cancelled": 1, "shown": ["answer 2"]}


def test_word_by_word_and_line_by_line(editor: Neovim) -> None:
    type_below(editor, "return ")
    wait_for_ghost(editor, "self.counts[article]")
    for piece in ("self", ".", "counts"):
        before = line_of(editor)
        editor.press("<M-Right>")
        editor.wait_for(lambda text=before + piece: line_of(editor) == text)
        editor.wait_for(lambda: ghost(editor))
    assert ghost(editor) == "[article]"
    editor.press("<Esc>dd")
    editor.press("Ofor article")
    editor.wait_for(lambda: "\n" in ghost(editor))
    editor.press("<M-Down>")
    editor.wait_for(lambda: line_of(editor).endswith("in self.counts:"))
    assert editor.wait_for(lambda: ghost(editor)).startswith("\n")


def test_alternatives(editor: Neovim) -> None:
    """The first press asks for them, since one that comes by itself has none."""
    type_below(editor, "return ")
    wait_for_ghost(editor, "self.counts[article]")
    editor.press("<M-]>")
    wait_for_ghost(editor, "self.total(article) (2/3)")
    assert editor.requests()[-1]["kind"] == 1
    editor.press("<M-]>")
    wait_for_ghost(editor, "len(self.counts) (3/3)")
    editor.press("<M-[>")
    wait_for_ghost(editor, "self.total(article) (2/3)")
    editor.press("<Tab>")
    editor.wait_for(lambda: line_of(editor) == "        return self.total(article)")


def test_dismissed_text_stays_away_until_the_next_key(editor: Neovim) -> None:
    type_below(editor, "return self.")
    wait_for_ghost(editor, "counts[article]")
    editor.press("<M-e>")
    editor.wait_for(lambda: editor.ghosts() == [])
    editor.press("<Tab>")
    editor.wait_for(lambda: line_of(editor) != "        return self.")
    assert line_of(editor).strip() == "return self.", "Tab is a tab where nothing is shown"


def test_text_beyond_ascii(editor: Neovim) -> None:
    type_below(editor, "total_grö")
    wait_for_ghost(editor, "ße = sum(self.counts.values())")
    editor.press("<M-Right>")
    editor.wait_for(lambda: line_of(editor) == "        total_größe")


def test_a_file_with_secrets_stays_silent(editor: Neovim, project: Path) -> None:
    editor.open(project / ".env")
    editor.press("Go")
    editor.type("return self.")
    editor.wait_for(lambda: editor.requests() and editor.requests()[-1]["state"] == "answered")
    assert editor.ghosts() == []
    assert not any(request.get("texts") for request in editor.requests())
    editor.press("<Esc>")
    editor.lua("vim.cmd('NemoDiff why')")
    editor.wait_for(lambda: any("secret" in message for message in editor.messages()))
    assert status(editor) == "NemoDiff \N{EN DASH}"


def test_the_engine_dies_and_comes_back(editor: Neovim, engine: Engine) -> None:
    type_below(editor, "return self.")
    wait_for_ghost(editor, "counts[article]")
    engine.kill()
    editor.press("<Esc>otot")
    editor.wait_for(lambda: status(editor) == "NemoDiff !")
    assert editor.ghosts() == []
    engine.start()
    type_until_ghost(editor)
    editor.wait_for(lambda: status(editor) == "NemoDiff")


def test_toggle_hides_and_brings_back(editor: Neovim) -> None:
    type_below(editor, "return self.")
    wait_for_ghost(editor, "counts[article]")
    editor.lua("require('nemodiff').toggle()")
    editor.wait_for(lambda: status(editor) == "NemoDiff off" and editor.ghosts() == [])
    num_asked = len(editor.requests())
    editor.type("c")
    editor.wait_for(lambda: len(editor.requests()) > num_asked)
    editor.wait_for(lambda: editor.requests()[-1]["state"] == "answered")
    assert editor.ghosts() == []
    editor.lua("vim.cmd('NemoDiff toggle')")
    editor.wait_for(lambda: status(editor) == "NemoDiff")
    editor.type("o")
    wait_for_ghost(editor, "unts[article]")


def test_ghost_text_beside_a_completion_menu(editor: Neovim) -> None:
    """Neovim's own menu is open while the text is shown; Tab takes the text."""
    type_below(editor, "return self.")
    wait_for_ghost(editor, "counts[article]")
    editor.type("co")
    editor.press("<C-n>")
    editor.wait_for(lambda: editor.lua("return vim.fn.pumvisible()") or "counts" in line_of(editor))
    editor.press("<C-e>")
    wait_for_ghost(editor, "unts[article]")
    editor.press("<Tab>")
    editor.wait_for(lambda: line_of(editor) == COMPLETE_RETURN)
