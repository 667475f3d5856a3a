"""Neovim: a real, headless editor that a test types into. Used by tests/editors/test_neovim*.py.

It runs Neovim's own LSP client against a language server that the test names. Typing goes through
the editor's input queue, so every autocommand fires as it does for a person.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import pynvim
from get_neovim import default_folder, old_folder, program_in

PROGRAM_VARIABLE = "NEMODIFF_NVIM"
OLD_PROGRAM_VARIABLE = "NEMODIFF_OLD_NVIM"
OLDEST = (0, 12)
OLDEST_WITH_OWN = (0, 10)
"""From here on the plugin draws ghost text itself."""

# A guard against a hang, never a synchronisation: the real model may have to be loaded first.
GUARD_S = 300.0
_POLL_S = 0.02

_INIT = Path(__file__).with_name("neovim_init.lua")
PLUGIN_INIT = Path(__file__).with_name("neovim_plugin_init.lua")

T = TypeVar("T")


def find_neovim() -> Path | None:
    """A Neovim that knows inline completion: named by NEMODIFF_NVIM, installed here, or on PATH."""
    named = os.environ.get(PROGRAM_VARIABLE)
    candidates = [named] if named else [str(program_in(default_folder())), shutil.which("nvim")]
    for candidate in candidates:
        if candidate and Path(candidate).exists() and _version(candidate) >= OLDEST:
            return Path(candidate)
    return None


def find_old_neovim() -> Path | None:
    """A Neovim from before inline completion, 0.10 or 0.11: named or installed here."""
    named = os.environ.get(OLD_PROGRAM_VARIABLE)
    program = Path(named) if named else program_in(old_folder())
    is_old = program.exists() and OLDEST_WITH_OWN <= _version(str(program)) < OLDEST
    return program if is_old else None


def _version(program: str) -> tuple[int, int]:
    run = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=60)
    found = re.search(r"NVIM v(\d+)\.(\d+)", run.stdout)
    return (int(found[1]), int(found[2])) if found else (0, 0)


class Neovim:
    """One editor; `home` takes its own files, so that no setting of the user is read.

    init: the set-up; None = `home`/config/nvim/init.lua, as for a person. environment: variables on
    top of this process's own.
    """

    guard_s = GUARD_S

    def __init__(
        self,
        program: Path,
        home: Path,
        command: list[str],
        options: object,
        *,
        init: Path | None = _INIT,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        folders = {f"XDG_{kind}_HOME": str(home / kind.lower()) for kind in ("CONFIG", "DATA")}
        folders |= {f"XDG_{kind}_HOME": str(home / kind.lower()) for kind in ("STATE", "CACHE")}
        settings = {"command": command, "options": options}
        added = {**folders, "NEMODIFF_TEST_SETTINGS": json.dumps(settings), **(environment or {})}
        # pynvim hands the environment of this process to the editor.
        before = {name: os.environ.get(name) for name in added}
        os.environ.update(added)
        try:
            arguments = [str(program), "--embed", "--headless", "-i", "NONE", "-n"]
            if init is not None:
                arguments += ["-u", str(init)]
            self._nvim = pynvim.attach("child", argv=arguments)
        finally:
            for name, value in before.items():
                if value is None:
                    os.environ.pop(name)
                else:
                    os.environ[name] = value

    def __enter__(self) -> Neovim:
        return self

    def __exit__(self, *_: object) -> None:
        self._nvim.command("qall!", async_=True)
        self._nvim.close()

    def lua(self, code: str, *arguments: object) -> Any:
        return self._nvim.exec_lua(code, *arguments)

    def open(self, path: Path) -> None:
        """Edit `path` and wait until the language server has it."""
        self._nvim.command(f"edit {path}")
        self.wait_for(lambda: self.lua("return vim.b.is_attached"))

    def press(self, keys: str) -> None:
        """Put keys into the input queue, in Neovim's notation (``<Tab>``, ``<lt>``)."""
        self._nvim.input(keys)

    def type(self, text: str) -> None:
        self.press(text.replace("<", "<lt>"))

    def text(self) -> str:
        return "\n".join(self._nvim.current.buffer[:])

    def cursor(self) -> tuple[int, int]:
        """Line and byte column, from 0."""
        line, column = self._nvim.current.window.cursor
        return line - 1, column

    def ghosts(self) -> list[tuple[int, int, str]]:
        """Line, column and text of each piece of ghost text on the screen."""
        return [tuple(ghost) for ghost in self.lua("return _G.ghosts()")]

    def requests(self) -> list[dict[str, Any]]:
        """Every inline completion asked for: ``line``, ``character``, ``state``, ``texts``.

        state: pending or answered; texts: of the answer's items (absent for a null answer).
        """
        return list(self.lua("return _G.requests"))

    def messages(self) -> list[str]:
        """What the server showed to the user or wrote to the log."""
        return list(self.lua("return _G.messages"))

    def wait_for(self, is_so: Callable[[], T]) -> T:
        """`is_so()` as soon as it is true of something."""
        deadline_s = time.monotonic() + self.guard_s
        while not (found := is_so()):
            if time.monotonic() >= deadline_s:
                raise AssertionError(f"waited in vain: {self.requests()} {self.messages()}")
            time.sleep(_POLL_S)
        return found

    def wait_for_text(self, text: str) -> None:
        """Wait until the keys pressed so far have made the buffer `text`."""
        self.wait_for(lambda: self.text() == text)
