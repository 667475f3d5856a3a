"""Lets an editor use the NemoDiff of this clone: ``python editors/install.py EDITOR``.

Run by `make vscode`, `make neovim` and so on, with the Python of .venv. It says what it writes,
touches nothing of the user's that it cannot give back, and does nothing the second time. Where
there is no such editor, a real one is put into .venv.
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from textwrap import indent

from installing import jetbrains, stand_ins, terminal_editors, vscode_extension
from installing.terminal_editors import Plan
from installing.user_files import Change, InstallError, State

ROOT = Path(__file__).resolve().parents[1]
EXAMPLE = "docs/examples/inventory.py"

PLANS: dict[str, Callable[[Path, Sequence[str]], Plan]] = {
    "neovim": terminal_editors.neovim,
    "emacs": terminal_editors.emacs,
    "helix": terminal_editors.helix,
}
EDITORS = ("vscode", *PLANS, "jetbrains")

TYPE = "and type `self.counts[article] `:"
GREY = "grey text appears, Tab takes it."
WHAT_NEXT = {
    "neovim": (f"Press 26GA {TYPE} {GREY}", "Alt-\\"),
    "emacs": (f"Press M-g g 26 RET C-e {TYPE} {GREY}", "M-x lsp-inline-completion-display"),
    "helix": (f"Press 26GA {TYPE} a menu appears, C-n and Return take its first entry.", "C-x"),
    "vscode": (f"Go to the end of line 26 {TYPE} {GREY}", "Alt+\\"),
}
"""What to do in the example, and what asks again, with more patience than typing does."""


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def put(changes: Sequence[Change], *, is_dry: bool) -> None:
    """Make the changes that are not there yet; none of them if one fails. Raises InstallError."""
    done: list[Change] = []
    for change in changes:
        state = change.state()
        if state is State.FOREIGN:
            say(f"{change.path} is not of NemoDiff's making, so it is left as it is.")
        elif state is State.CHANGED:
            say(f"{change.path}: NemoDiff's part was changed by hand, so it is left as it is.")
        elif state is State.OURS:
            say(f"{change.path} is as it should be.")
        else:
            say(f"{'would write' if is_dry else 'writes'} {change.path}: {_shown(change)}")
            try:
                if not is_dry:
                    change.put()
            except OSError as error:
                for each in reversed(done):
                    each.take_back()
                raise _unwritable(change, error) from None
            done.append(change)


def _shown(change: Change) -> str:
    """What a change puts there; several lines below the path, indented."""
    preview = change.preview().rstrip("\n")
    return "\n" + indent(preview, "  ") if "\n" in preview else preview


def take_back(changes: Sequence[Change], *, is_dry: bool) -> bool:
    """Undo the changes; whether all that is NemoDiff's is gone. Raises InstallError."""
    is_all = True
    for change in changes:
        state = change.state()
        if state in (State.ABSENT, State.FOREIGN):
            say(f"{change.path}: nothing of NemoDiff's is there.")
        elif state is State.CHANGED:
            say(f"{change.path}: NemoDiff's part was changed by hand; take it out by hand, too.")
            is_all = False
        else:
            say(f"{'would take' if is_dry else 'takes'} NemoDiff out of {change.path}")
            try:
                if not is_dry:
                    change.take_back()
            except OSError as error:
                raise _unwritable(change, error) from None
    return is_all


def _unwritable(change: Change, error: OSError) -> InstallError:
    why = error.strerror or type(error).__name__
    where = error.filename or change.path
    return InstallError(
        f"{change.path} cannot be changed ({where}: {why}): make it writable, then run this again."
    )


def terminal_editor(editor: str, server: Path, *, is_removed: bool, is_dry: bool) -> int:
    """Neovim, Emacs and Helix; the exit code."""
    program = [] if is_removed else stand_ins.installed(editor)
    is_ours = not program
    if is_removed:
        return 0 if take_back(PLANS[editor](server, []).changes, is_dry=is_dry) else 1
    if is_ours:
        say(f"No {editor.capitalize()} that is new enough is here: one is put into .venv.")
        program = [] if is_dry else stand_ins.stand_in(editor)
    plan = PLANS[editor](server, program)
    if plan.by_hand:
        say(plan.by_hand)
        return 0
    put(plan.changes, is_dry=is_dry)
    for note in plan.notes:
        say(note)
    if not is_dry:
        shown = _short(Path(program[0])) if is_ours else Path(program[0]).name
        _say_what_next(editor, f"{shown} {EXAMPLE}")
    return 0


def visual_studio_code(server: Path, *, is_removed: bool, is_dry: bool) -> int:
    """VS Code on the desktop, or in a browser where there is none; the exit code."""
    own = vscode_extension.program()
    link = vscode_extension.link(server)
    if is_removed:
        code = [own] if own else vscode_extension.stand_in_command()
        if not vscode_extension.is_installed(code):
            say("VS Code: nothing of NemoDiff's is there.")
        else:
            say(f"{'would take' if is_dry else 'takes'} the extension out of VS Code")
            if not is_dry:
                vscode_extension.uninstall(code)
        return 0 if take_back([link], is_dry=is_dry) else 1
    if own is None:
        say("No VS Code (its command `code`) is here: one for the browser is put into .venv.")
    code = [own] if own else []
    if not (code or is_dry):
        code = vscode_extension.stand_in()
    put([link], is_dry=is_dry)
    if link.state() is State.FOREIGN:
        say(f'Set `nemodiff.server.command` to ["{server}", "lsp"] in VS Code\'s settings.')
    say(f"{'would build' if is_dry else 'builds'} the extension and installs it")
    if not is_dry:
        vscode_extension.install(code)
    if is_dry:
        return 0
    if own:
        _say_what_next("vscode", f"{Path(own).name} {EXAMPLE}")
    else:
        _say_what_next("vscode", f"{_short(Path(sys.executable))} editors/vscode_in_browser.py")
    return 0


def jetbrains_ide(server: Path, *, is_removed: bool, is_dry: bool) -> int:
    template = jetbrains.Template(server)
    if is_removed:
        return 0 if take_back([template], is_dry=is_dry) else 1
    put([template], is_dry=is_dry)
    say(jetbrains.CLICKS.format(folder=template.path))
    say("The plugin, with status and menu, is built by Gradle: see editors/jetbrains/README.md.")
    return 0


def _short(program: Path) -> str:
    """As one types it in the clone."""
    shown = program.relative_to(ROOT) if program.is_relative_to(ROOT) else program
    return shlex.quote(str(shown))


def _say_what_next(editor: str, command: str) -> None:
    what_to_do, ask = WHAT_NEXT[editor]
    say(f"\nNext: {command}")
    say(f"{what_to_do} The model is loaded first, which takes some seconds: {ask} asks again.")


def find_server(named: Path | None) -> Path:
    """The server's program: named, or that of this Python's environment. Raises InstallError."""
    suffix = ".exe" if os.name == "nt" else ""
    server = named or Path(sys.executable).parent / f"nemodiff{suffix}"
    if not os.access(server, os.X_OK):
        raise InstallError(f"{server} is not there or not a program: run `make setup` first.")
    return server.absolute()


def main() -> int:
    parser = argparse.ArgumentParser(prog="install.py", description=__doc__)
    parser.add_argument("editor", choices=EDITORS)
    parser.add_argument("--remove", action="store_true", help="take back what was put there")
    parser.add_argument("--dry-run", action="store_true", help="only say what would be written")
    parser.add_argument("--server", type=Path, help="the program `nemodiff` to use")
    given = parser.parse_args()
    how = {"is_removed": given.remove, "is_dry": given.dry_run}
    try:
        server = find_server(given.server)
        if given.editor == "vscode":
            return visual_studio_code(server, **how)
        if given.editor == "jetbrains":
            return jetbrains_ide(server, **how)
        return terminal_editor(given.editor, server, **how)
    except InstallError as error:
        sys.stderr.write(f"{error}\n")
        return 1


if __name__ == "__main__":
    sys.exit(main())
