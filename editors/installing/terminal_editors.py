"""What Neovim, Emacs and Helix need to use the NemoDiff of this clone."""

from __future__ import annotations

import json
import os
import re
import subprocess
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from installing.user_files import Block, Change, Link

ROOT = Path(__file__).resolve().parents[2]
EDITORS = ROOT / "editors"

HELIX_LANGUAGES = (
    *("python", "rust", "go", "c", "cpp", "java", "javascript", "jsx", "typescript", "tsx"),
    *("lua", "bash", "json", "toml", "yaml", "html", "css"),
)
_LARGEST_SETTING_BYTES = 1_000_000


@dataclass(frozen=True)
class Plan:
    """What is to be changed, or why nothing is; notes: sentences for the user.

    by_hand: what the user has to put where, if it cannot be done safely; empty otherwise.
    """

    changes: Sequence[Change]
    notes: Sequence[str] = ()
    by_hand: str = ""


def config_folder() -> Path:
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")


def data_folder() -> Path:
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")


def neovim(server: Path, program: Sequence[str]) -> Plan:
    """A package in Neovim's own folder: no file of the user's is touched."""
    name = os.environ.get("NVIM_APPNAME") or "nvim"
    start = data_folder() / name / "site" / "pack" / "nemodiff" / "start"
    setup = start / "nemodiff-setup" / "plugin" / "nemodiff_setup.lua"
    plugin = EDITORS / "neovim"
    changes = (
        Link(start / "nemodiff", plugin),
        Block(setup, _neovim_setup(server), "--"),
    )
    own = "\n".join(_settings(config_folder() / name, "*.lua", "*.vim"))
    if re.search(r"require\W+nemodiff\b|lsp\.enable\W+nemodiff\b|editors/neovim", own):
        return Plan(changes, by_hand=f"Your {name} configuration already sets NemoDiff up.")
    if re.search(r"lazy\.nvim|require\W+lazy\W", own):
        spec = (
            "lazy.nvim loads only what its own list names. Add to that list:\n\n"
            f"  {{ dir = {_quoted(plugin)}, name = 'nemodiff', lazy = false, config = function()\n"
            f"    require('nemodiff').setup({{ cmd = {{ {_quoted(server)}, 'lsp' }} }})\n"
            "  end },"
        )
        return Plan(changes, by_hand=spec)
    return Plan(changes)


def _neovim_setup(server: Path) -> str:
    return f"""\
-- Options of your own: `vim.g.nemodiff = {{ settings = {{ multiline = 'never' }} }}` in init.lua.
local is_there, nemodiff = pcall(require, 'nemodiff')
if is_there then
  local own = {{ cmd = {{ {_quoted(server)}, 'lsp' }} }}
  nemodiff.setup(vim.tbl_extend('force', own, vim.g.nemodiff or {{}}))
else
  vim.notify('NemoDiff is no longer where it was: run `make neovim` in its clone.')
end
"""


def emacs(server: Path, program: Sequence[str]) -> Plan:
    """A block at the end of the init file."""
    init = _emacs_init()
    has_own = bool(re.search(r"lsp-mode|lsp-deferred", _without_ours(init)))
    change = Block(init, _emacs_block(server, is_first=not has_own), ";;")
    if re.search(r"nemodiff", _without_ours(init)):
        return Plan([change], by_hand=f"{init} already sets NemoDiff up.")
    notes = []
    if has_own:
        notes.append(
            "Your init file sets lsp-mode up itself, so NemoDiff runs where you start lsp-mode."
        )
    if program and not _has_lsp_mode(program):
        notes.append(
            "lsp-mode 10 or newer is missing in your Emacs: M-x package-install RET lsp-mode RET, "
            "with MELPA among package-archives, then start Emacs again."
        )
    return Plan([change], notes)


def _emacs_init() -> Path:
    """The init file that Emacs reads, or would read."""
    home = Path.home()
    candidates = [home / ".emacs.el", home / ".emacs", home / ".emacs.d" / "init.el"]
    for candidate in candidates:
        if candidate.exists():
            return candidate
    new = config_folder() / "emacs"
    is_new = new.exists() and not (home / ".emacs.d").exists()
    return (new if is_new else home / ".emacs.d") / "init.el"


def _emacs_block(server: Path, *, is_first: bool) -> str:
    """is_first: nothing else starts lsp-mode, so this does, in every programming mode."""
    start = """\
  (setq lsp-auto-guess-root t)
  (add-hook 'prog-mode-hook #'lsp-deferred)
"""
    return f"""\
(if (not (locate-library "lsp-inline-completion"))
    (message "NemoDiff needs lsp-mode 10 or newer: M-x package-install RET lsp-mode RET")
  (add-to-list 'load-path {_quoted(EDITORS / "emacs")})
{start if is_first else ""}\
  (with-eval-after-load 'lsp-mode
    (require 'nemodiff)
    (setq nemodiff-command '({_quoted(server)} "lsp"))
    ;; Its default of two seconds is not changed where you have chosen another.
    (when (eql lsp-inline-completion-idle-delay 2)
      (setq lsp-inline-completion-idle-delay 0.2))
    ;; Only while text is shown; a terminal has no key for lsp-mode's own C-<return>.
    (unless (lookup-key lsp-inline-completion-active-map (kbd "TAB"))
      (define-key lsp-inline-completion-active-map (kbd "TAB") #'lsp-inline-completion-accept))))
"""


def _without_ours(path: Path) -> str:
    text = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
    return re.sub(r"^;; >>> NemoDiff .*?^;; <<< NemoDiff\n", "", text, flags=re.S | re.M)


def _has_lsp_mode(program: Sequence[str]) -> bool:
    ask = '(progn (package-initialize) (kill-emacs (if (locate-library "%s") 0 3)))'
    words = [*program, "-Q", "--batch", "--eval", ask % "lsp-inline-completion"]
    return subprocess.run(words, capture_output=True, timeout=60, check=False).returncode == 0


def helix(server: Path, program: Sequence[str]) -> Plan:
    """A block at the end of languages.toml, if it stays valid with it."""
    path = config_folder() / "helix" / "languages.toml"
    text = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
    theirs = re.sub(r"^# >>> NemoDiff .*?^# <<< NemoDiff\n", "", text, flags=re.S | re.M)
    try:
        own = tomllib.loads(theirs)
    except tomllib.TOMLDecodeError as error:
        block = _helix_block(server, program, HELIX_LANGUAGES)
        return Plan(
            [Block(path, block, "#")],
            by_hand=f"{path} is not valid ({error}): mend it, then run this again.",
        )
    taken = {str(each.get("name")) for each in own.get("language", [])}
    block = _helix_block(server, program, [each for each in HELIX_LANGUAGES if each not in taken])
    change = Block(path, block, "#")
    if "nemodiff" in own.get("language-server", {}):
        return Plan([change], by_hand=f"{path} already sets NemoDiff up.")
    try:
        tomllib.loads(theirs + "\n" + block)
    except tomllib.TOMLDecodeError:
        return Plan([change], by_hand=f"Put this into {path}:\n\n{block}")
    left = ", ".join(each for each in HELIX_LANGUAGES if each in taken)
    note = f'{path} has entries of your own for {left}: add "nemodiff" to their language-servers.'
    return Plan([change], [note] if left else [])


def _helix_block(server: Path, program: Sequence[str], languages: Sequence[str]) -> str:
    """Helix has no entry for all languages, and a list of servers takes the place of its own."""
    text = f'[language-server.nemodiff]\ncommand = {_quoted(server)}\nargs = ["lsp"]\n'
    for language in languages:
        servers = ["nemodiff", *_helix_servers(program, language)]
        text += f'\n[[language]]\nname = "{language}"\nlanguage-servers = {json.dumps(servers)}\n'
    return text


def _helix_servers(program: Sequence[str], language: str) -> list[str]:
    """Those that Helix starts for a language by itself, which must be named with ours."""
    if not program:
        return []
    words = [*program, "--health", language]
    run = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    plain = re.sub(r"\x1b\[[0-9;]*m", "", run.stdout).partition("Configured debug adapter")[0]
    listed = re.findall(r"^  [✓✘] ([\w.-]+):", plain, re.MULTILINE)
    return [name for name in listed if name != "nemodiff"]


def _settings(folder: Path, *patterns: str) -> Iterator[str]:
    """The texts of a user's settings."""
    for pattern in patterns:
        for path in sorted(folder.rglob(pattern)):
            if path.is_file() and path.stat().st_size <= _LARGEST_SETTING_BYTES:
                yield path.read_text(encoding="utf-8", errors="replace")


def _quoted(path: Path) -> str:
    """A string of Lua, Lisp and TOML alike."""
    return json.dumps(str(path), ensure_ascii=False)
