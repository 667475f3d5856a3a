"""Client profiles: each row is found by the names its clients really send."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lsprotocol import types

from nemodiff_lsp.clients.profile import ClientProfile, profile_for

INLINE = types.InlineCompletionClientCapabilities(dynamic_registration=False)
MENU = types.CompletionClientCapabilities()


def initialize(
    name: str | None,
    *,
    inline: bool = False,
    menu: bool = True,
    options: Any = None,
) -> ClientProfile:
    document = types.TextDocumentClientCapabilities(
        completion=MENU if menu else None, inline_completion=INLINE if inline else None
    )
    return profile_for(
        types.InitializeParams(
            capabilities=types.ClientCapabilities(text_document=document),
            client_info=None if name is None else types.ClientInfo(name=name, version="1"),
            initialization_options=options,
        )
    )


@pytest.mark.parametrize(
    ("sent", "canonical"),
    [
        ("Visual Studio Code", "vscode"),
        ("Visual Studio Code - Insiders", "vscode"),
        ("code-server", "vscode"),
        ("VSCodium", "vscode"),
        ("Code - OSS", "vscode"),
        ("Cursor", "vscode"),
        ("Windsurf", "vscode"),
        ("Neovim", "neovim"),
        ("coc.nvim", "coc"),
        ("IntelliJ IDEA", "lsp4ij"),
        ("PyCharm Community Edition", "lsp4ij"),
        ("LSP4IJ", "lsp4ij"),
        ("emacs", "emacs"),
        ("GNU Emacs", "emacs"),
        ("lsp-bridge", "emacs"),
        ("Eglot", "eglot"),
        ("helix", "helix"),
        ("Sublime Text LSP", "sublime"),
        ("Zed", "zed"),
        ("kak-lsp", "kakoune"),
        ("vim-lsp", "vim"),
        ("Kate", "unknown"),
        ("", "unknown"),
        (None, "unknown"),
    ],
)
def test_name(sent: str | None, canonical: str) -> None:
    assert initialize(sent).name == canonical
    assert initialize(sent, inline=True).name == canonical


def test_vscode_asks_at_every_key() -> None:
    profile = initialize("Visual Studio Code", inline=True)
    assert (profile.wait_ms, profile.starts_on_change) == (50, False)
    assert profile.runs_command and profile.supports_snippets and profile.supports_inline
    assert profile.debounce_ms > 0


def test_neovim_waits_so_starting_early_pays() -> None:
    profile = initialize("Neovim", inline=True)
    assert (profile.wait_ms, profile.debounce_ms, profile.starts_on_change) == (200, 0, True)
    assert profile.range_style == "zero" and not profile.knows_status


def test_our_jetbrains_plugin_runs_the_command_that_lsp4ij_does_not() -> None:
    profile = initialize("NemoDiff plugin")
    assert profile.name == "nemodiff-jetbrains"
    assert profile.runs_command and not profile.supports_snippets and profile.supports_inline
    assert profile.wait_ms == 0


def test_lsp4ij_runs_no_command_and_expands_no_snippet() -> None:
    profile = initialize("IntelliJ IDEA")
    assert (profile.wait_ms, profile.starts_on_change) == (300, True)
    assert not profile.runs_command and not profile.supports_snippets
    assert profile.is_trigger_always_automatic and profile.supports_inline
    assert profile.range_style == "zero"


def test_lsp_mode_announces_nothing_and_asks() -> None:
    profile = initialize("emacs", inline=False)
    assert profile.supports_inline and profile.wait_ms == 2000


@pytest.mark.parametrize("name", ["helix", "Sublime Text LSP", "Zed", "vim-lsp", "Neovim", "Kate"])
def test_clients_without_inline_completion_get_the_menu(name: str) -> None:
    """Neovim 0.11 is one of them; each gets inline completions once it announces them."""
    today, newer = initialize(name), initialize(name, inline=True)
    assert not today.supports_inline and today.range_style == "word"
    assert newer.supports_inline and newer.range_style == "zero"


def test_client_that_announces_no_menu_either_is_not_denied() -> None:
    assert initialize("something", menu=False).supports_inline


class Options:
    """What pygls makes of a JSON object that no type describes."""

    def __init__(self, **members: Any) -> None:
        self.__dict__.update(members)


@pytest.mark.parametrize(
    "options",
    [
        {
            "editorInfo": {"name": "Emacs", "version": "30.1"},
            "editorPluginInfo": {"name": "copilot.el", "version": "0.3"},
        },
        Options(
            editorInfo=Options(name="Emacs", version="30.1"),
            editorPluginInfo=Options(name="copilot.el", version="0.3"),
        ),
        {"editorPluginInfo": {"name": "copilot.lua"}},
    ],
)
def test_clients_of_copilots_server(options: Any) -> None:
    profile = initialize("emacs", options=options)
    assert profile.name == "copilot-el"
    assert profile.reports_shown and profile.knows_status and profile.supports_inline


def test_copilots_status_is_for_those_who_know_it() -> None:
    plain = initialize("Neovim", inline=True)
    speaking = initialize("Neovim", inline=True, options={"editorInfo": {"name": "Neovim"}})
    assert speaking.name == "neovim" and speaking.wait_ms == 200
    assert speaking.knows_status and speaking.reports_shown
    assert not plain.knows_status and not plain.reports_shown


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["editorInfo", "editorPluginInfo", "name", "x"]), inner, max_size=4
        )
    ),
    max_leaves=8,
)


@given(st.none() | st.text(max_size=20), JSON, st.booleans(), st.booleans())
def test_any_introduction(name: str | None, options: Any, inline: bool, menu: bool) -> None:
    """Never raises, and an announced capability always counts."""
    profile = initialize(name, options=options, inline=inline, menu=menu)
    assert profile.supports_inline or (menu and not inline)
    assert profile.starts_on_change == (profile.wait_ms >= 100)
    assert (profile.range_style == "zero") == profile.supports_inline
    assert (profile.deadline_ms, profile.invoked_deadline_ms) == (400, 2000)


def test_client_without_document_capabilities() -> None:
    params = types.InitializeParams(capabilities=types.ClientCapabilities())
    assert profile_for(params).name == "unknown"
