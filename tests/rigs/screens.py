"""Editors in a terminal as a new user sees them: installed by one command, then typed into.

Each is set up by editors/install.py in a home folder of its own and run with the real engine and
the default model. `make screens` runs this as ``python tests/rigs/screens.py`` and keeps the
pictures in docs/images; tests/editors/test_screens.py looks at the same screens.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from get_emacs import emacs_command, emacs_folder, helix_folder, helix_program
from get_neovim import default_folder, program_in
from rich.terminal_theme import TerminalTheme
from svg import DARK, LIGHT, to_svg
from terminal import Terminal

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "docs" / "examples" / "inventory.py"
IMAGES = ROOT / "docs" / "images"

HOLE_LINE = 26
"""From 1; the hole of the example."""
TYPED = "self.counts[article] "

# How long until the same is typed anew: a server that has just been started may offer nothing yet.
_PATIENCE_S = 20.0
_NUM_TRIES = 12


@dataclass(frozen=True)
class Editor:
    """How one editor is used; the keys are those that a terminal sends.

    offer: what it shows of a completion at the cursor, read from the screen; empty for nothing.
    """

    is_here: Callable[[], bool]
    to_hole: str
    take: str
    save: str
    offer: Callable[[Terminal], str]
    theme: TerminalTheme = DARK


@dataclass(frozen=True)
class Seen:
    """What was on the screen, and what was saved after it was taken.

    offer: the completion; line: with what stands left of it; text: of the file, once saved.
    """

    offer: str
    line: str
    picture: str
    text: str


def ghost_text(terminal: Terminal) -> str:
    """The text right of the cursor in another colour than the code left of it."""
    row, column = terminal.cursor()
    cells = terminal.cells(row)
    typed = next((cell for cell in reversed(cells[:column]) if cell.data.strip()), None)
    rest = "".join(cell.data for cell in cells[column:]).rstrip()
    ghosts = cells[column : column + len(rest)]
    colours = {cell.fg for cell in ghosts if cell.data.strip()}
    is_ghost = typed is not None and len(colours) == 1 and typed.fg not in colours
    return rest if is_ghost else ""


def first_entry(terminal: Terminal) -> str:
    """The first entry of the menu below the cursor, without its kind."""
    row, column = terminal.cursor()
    below = terminal.cells(row + 1)
    background = below[column + 1].bg
    if background == terminal.cells(row)[column + 1].bg:
        return ""
    entry = "".join(cell.data for cell in below[column:] if cell.bg == background)
    return entry.strip().rpartition(" ")[0].strip()


EDITORS = {
    "neovim": Editor(
        lambda: bool(shutil.which("nvim")) or program_in(default_folder()).exists(),
        to_hole=f"{HOLE_LINE}GA",
        take="\t",
        save="\x1b:w\r",
        offer=ghost_text,
    ),
    "emacs": Editor(
        lambda: bool(shutil.which("emacs")) or emacs_command(emacs_folder()) is not None,
        to_hole=f"\x1bgg{HOLE_LINE}\r\x05",
        take="\t",
        save="\x18\x13",
        offer=ghost_text,
        # It takes a terminal that does not tell its colours for a light one.
        theme=LIGHT,
    ),
    "helix": Editor(
        lambda: bool(shutil.which("hx")) or helix_program(helix_folder()) is not None,
        to_hole=f"{HOLE_LINE}GA",
        take="\x0e\r",
        save="\x1b",
        offer=first_entry,
    ),
}


@contextmanager
def home(cache: Path, deadline_ms: int = 120_000) -> Iterator[dict[str, str]]:
    """The environment of a new user with a home folder of its own; its engine ends with it.

    cache: where the default model is; deadline_ms: how fast the machine is decides nothing.
    """
    with tempfile.TemporaryDirectory(prefix="nd-") as name:
        (Path(name) / "run").mkdir(mode=0o700)
        environment = {
            "HOME": name,
            "PATH": os.defpath,
            "TERM": "xterm-256color",
            "COLORTERM": "truecolor",
            "LANG": "C.UTF-8",
            "NEMODIFF_CACHE": str(cache),
            "NEMODIFF_RUNTIME_DIR": str(Path(name) / "run"),
            "NEMODIFF_DEADLINE_MS": str(deadline_ms),
            "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "2"),
        }
        try:
            yield environment
        finally:
            stop = [sys.executable, "-m", "engine", "engine", "stop"]
            subprocess.run(stop, cwd=ROOT, env=environment, capture_output=True, check=False)


def install(editor: str, environment: Mapping[str, str]) -> list[str]:
    """Run the one command of an editor; the command that it says to start next."""
    words = [sys.executable, str(ROOT / "editors" / "install.py"), editor]
    run = subprocess.run(words, env=dict(environment), capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    found = re.search(r"^Next: (.*) docs/examples/inventory\.py$", run.stdout, re.MULTILINE)
    assert found, run.stdout
    return [str(ROOT / word) if "/" in word else word for word in shlex.split(found[1])]


def type_and_take(name: str, environment: Mapping[str, str]) -> Seen:
    """Install editor `name`, open a copy of the example in it, type, take what is offered, save."""
    editor = EDITORS[name]
    command = install(name, environment)
    command[0] = shutil.which(command[0], path=environment["PATH"]) or command[0]
    folder = Path(environment["HOME"]) / name
    (folder / ".git").mkdir(parents=True)
    file = Path(shutil.copy(EXAMPLE, folder))
    before = file.read_text(encoding="utf-8")
    with Terminal([*command, file.name], environment, folder) as terminal:
        terminal.wait_for(lambda: "def ship" in terminal.text())
        terminal.settle()
        terminal.press(editor.to_hole)
        terminal.settle()
        offer = _typed_until_offered(terminal, editor)
        row, column = terminal.cursor()
        line = terminal.screen.display[row][:column] + offer
        picture = to_svg(terminal, name.capitalize(), editor.theme)
        terminal.press(editor.take)
        terminal.settle()
        terminal.press(editor.save)
        # Escape together with what follows would be another key.
        if name == "helix":
            terminal.settle()
            terminal.press(":w\r")
        terminal.wait_for(lambda: _text(file) not in ("", before))
    return Seen(offer, line, picture, _text(file))


def _text(file: Path) -> str:
    """Of a file that an editor may be replacing at this moment."""
    try:
        return file.read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""


def _typed_until_offered(terminal: Terminal, editor: Editor) -> str:
    for key in TYPED:
        terminal.press(key)
        terminal.read()
    for _ in range(_NUM_TRIES):
        if terminal.is_so(lambda: bool(editor.offer(terminal)), _PATIENCE_S):
            terminal.settle()
            # A half drawn screen may look like an offer, and an editor may take one back.
            if offer := editor.offer(terminal):
                return offer
        terminal.press("\x7f")
        terminal.settle()
        terminal.press(TYPED[-1])
    raise AssertionError(f"nothing was offered:\n{terminal.text()}")


def main() -> int:
    """Write the pictures of the editors that are here; 1 if one is missing."""
    from engine.weights.store import cache_folder

    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else IMAGES
    missing = [name for name, editor in EDITORS.items() if not editor.is_here()]
    with home(cache_folder()) as environment:
        for name in (name for name in EDITORS if name not in missing):
            seen = type_and_take(name, environment)
            (folder / f"{name}.svg").write_text(seen.picture, encoding="utf-8")
            sys.stdout.write(f"{folder / name}.svg: {seen.offer!r} was offered and taken\n")
    for name in missing:
        sys.stderr.write(f"No picture of {name}: it is not here, run `make rigs`.\n")
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
