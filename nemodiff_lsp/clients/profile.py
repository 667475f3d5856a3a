"""Client profiles: how each editor's client asks, draws and reports, as one row of data each.

`profile_for` is called once, on `initialize`. The facts were read in the clients' sources or seen
by running them; a client without a row gets what no client draws wrongly. Position encodings are
negotiated by pygls, and the inline provider is registered whatever a client announces: lsp-mode
announces nothing and asks all the same.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from lsprotocol import types

RangeStyle = Literal["zero", "word", "line"]

# Work that starts on a change saves the user time only where the client waits at least so long
# before it asks.
_MIN_WAIT_MS = 100.0
# What Copilot's clients put into `initializationOptions`, the most telling first.
_COPILOT_FIELDS = ("editorPluginInfo", "editorInfo")


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientProfile:
    """What one client needs.

    wait_ms: how long the client itself waits after a keystroke before it asks. debounce_ms: how
    long the server waits on top of that before an automatic request costs the engine anything.
    deadline_ms / invoked_deadline_ms: when the best draft so far is sent, unless settings say
    otherwise. starts_on_change: starting on a change, before being asked, pays.

    supports_snippets: snippet text is expanded. runs_command: an accepted item's command is run.
    reports_shown: Copilot's notifications of shown and partly accepted items come. knows_status:
    Copilot's ``didChangeStatus`` is understood. supports_inline: asks for inline completions;
    others get items of ``textDocument/completion``. range_style: which range an item must have to
    be drawn rightly: zero-width at the cursor, the word left of it, or the line up to it.
    is_trigger_always_automatic: the trigger kind says nothing, a key press included.
    """

    name: str
    wait_ms: float
    debounce_ms: float
    deadline_ms: float = 400.0
    invoked_deadline_ms: float = 2000.0
    starts_on_change: bool
    supports_snippets: bool
    runs_command: bool
    reports_shown: bool
    knows_status: bool
    supports_inline: bool
    range_style: RangeStyle
    is_trigger_always_automatic: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    """A client as a row; the pattern is searched in its name, in lower case.

    asks_unannounced: inline completions are asked for without the capability being announced.
    """

    name: str
    pattern: str
    wait_ms: float = 0.0
    debounce_ms: float = 0.0
    supports_snippets: bool = False
    runs_command: bool = False
    asks_unannounced: bool = False
    is_trigger_always_automatic: bool = False

    def profile(self, *, supports_inline: bool, speaks_copilot: bool) -> ClientProfile:
        return ClientProfile(
            name=self.name,
            wait_ms=self.wait_ms,
            debounce_ms=self.debounce_ms,
            starts_on_change=self.wait_ms >= _MIN_WAIT_MS,
            supports_snippets=self.supports_snippets,
            runs_command=self.runs_command,
            reports_shown=speaks_copilot,
            knows_status=speaks_copilot,
            supports_inline=supports_inline,
            # Every client that draws inline completions draws a zero-width range rightly; a
            # menu's item replaces the word that it is filtered by.
            range_style="zero" if supports_inline else "word",
            is_trigger_always_automatic=self.is_trigger_always_automatic,
        )


# The first row whose pattern is found counts.
_ROWS = (
    # Copilot's own protocol, under whatever editor.
    _Row(
        name="copilot-el",
        pattern=r"copilot",
        debounce_ms=75,
        runs_command=True,
        asks_unannounced=True,
    ),
    # About a request per keystroke: the client's library waits for nothing, the editor 50 ms. An
    # unset range would be the word at the cursor.
    _Row(
        name="vscode",
        pattern=r"visual studio code|vscod|code-server|code - oss|^code\b|\bcursor\b|windsurf"
        r"|positron|theia|\btrae\b|\bkiro\b",
        wait_ms=50,
        debounce_ms=50,
        supports_snippets=True,
        runs_command=True,
    ),
    # Before Neovim: its name ends in "nvim".
    _Row(
        name="coc",
        pattern=r"\bcoc\b",
        debounce_ms=75,
        runs_command=True,
        asks_unannounced=True,
    ),
    # A range that is not empty is drawn over the rest of the line. Older requests are not
    # cancelled when a newer one goes out.
    _Row(
        name="neovim",
        pattern=r"neovim|\bnvim\b",
        wait_ms=200,
        supports_snippets=True,
        runs_command=True,
    ),
    # Our own plugin asks at each key and runs the command of what was accepted.
    _Row(
        name="nemodiff-jetbrains",
        pattern=r"^nemodiff plugin$",
        runs_command=True,
        asks_unannounced=True,
    ),
    # Snippet text is inserted raw, a range behind the cursor is drawn wrongly, no command is run.
    _Row(
        name="lsp4ij",
        pattern=r"lsp4ij|intellij|jetbrains|pycharm|webstorm|goland|clion|rubymine|phpstorm"
        r"|\brider\b|rustrover|android studio|datagrip|dataspell|gateway",
        wait_ms=300,
        asks_unannounced=True,
        is_trigger_always_automatic=True,
    ),
    _Row(name="eglot", pattern=r"eglot"),
    # lsp-mode asks after two idle seconds.
    _Row(
        name="emacs",
        pattern=r"emacs|lsp-mode|lsp-bridge",
        wait_ms=2000,
        runs_command=True,
        asks_unannounced=True,
    ),
    _Row(name="helix", pattern=r"helix"),
    _Row(name="sublime", pattern=r"sublime"),
    _Row(name="zed", pattern=r"^zed\b"),
    _Row(name="kakoune", pattern=r"kak-lsp|kakoune"),
    _Row(name="vim", pattern=r"\bvim\b|vim-lsp"),
)
_UNKNOWN = _Row(name="unknown", pattern="", debounce_ms=75)


def profile_for(params: types.InitializeParams) -> ClientProfile:
    """The profile of the client that sent `params`. Never raises; a stranger gets a safe one.

    Whether inline completions are asked for is told by the capability, because editors learn it
    from one version to the next; a client that announces no menu either is not denied them.
    """
    row = _row_of(params)
    document = params.capabilities.text_document
    is_announced = document is not None and document.inline_completion is not None
    has_menu = document is not None and document.completion is not None
    return row.profile(
        supports_inline=is_announced or row.asks_unannounced or not has_menu,
        speaks_copilot=bool(_copilot_names(params)),
    )


def _row_of(params: types.InitializeParams) -> _Row:
    names = _copilot_names(params)
    if params.client_info is not None:
        names.append(params.client_info.name)
    for name in names:
        for row in _ROWS:
            if re.search(row.pattern, name.lower()):
                return row
    return _UNKNOWN


def _copilot_names(params: types.InitializeParams) -> list[str]:
    """The names by which a client written for Copilot's server introduces itself."""
    options = params.initialization_options
    names: list[str] = []
    for field in _COPILOT_FIELDS:
        info = _member(options, field)
        name = _member(info, "name")
        if isinstance(name, str):
            names.append(name)
    return names


def _member(value: object, key: str) -> object:
    """The member of what pygls has made of a JSON object: a mapping or an object."""
    return value.get(key) if isinstance(value, Mapping) else getattr(value, key, None)
