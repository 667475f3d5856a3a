"""Context of other files: written in front of a prompt, in the form that the model knows.

Models with repository tokens (Qwen2.5-Coder) get each piece as a file of the same repository;
others get comment lines in the language of the completed file. Called by `engine.infill.prompt`
for each new anchor.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from engine.infill.window import MAX_CHARS_PER_TOKEN
from engine.messages.completion import Snippet
from engine.tokenizer import CodeTokenizer

_REPOSITORY, _FILE = "<|repo_name|>", "<|file_sep|>"
# Requests do not tell what the repository is called; published prompts use such a name.
_REPOSITORY_NAME = "project"
_MAX_PATH_CHARS = 160
# Fewer tokens than these hold no line worth showing.
_MIN_PIECE_TOKENS = 8

_HASH, _SLASHES, _DASHES = ("# ", ""), ("// ", ""), ("-- ", "")
_COMMENTS: dict[str, tuple[str, str]] = {
    **dict.fromkeys(
        "py pyi pyx rb sh bash zsh fish pl pm r jl ex exs nix tcl cmake mk".split(), _HASH
    ),
    **dict.fromkeys("yaml yml toml conf cfg properties tf dockerfile makefile".split(), _HASH),
    **dict.fromkeys(
        "c h cc cpp cxx hpp hh cs java js jsx mjs cjs ts tsx go rs swift".split(), _SLASHES
    ),
    **dict.fromkeys(
        "kt kts scala dart php proto groovy gradle zig sol scss less m mm".split(), _SLASHES
    ),
    **dict.fromkeys("lua sql hs elm adb ads vhd vhdl".split(), _DASHES),
    **dict.fromkeys("lisp el clj cljs cljc scm rkt asm ini".split(), ("; ", "")),
    **dict.fromkeys("tex erl hrl".split(), ("% ", "")),
    **dict.fromkeys("html htm xml svg vue svelte md".split(), ("<!-- ", " -->")),
    **dict.fromkeys("ml mli".split(), ("(* ", " *)")),
    **dict.fromkeys("f90 f95 f03".split(), ("! ", "")),
    "css": ("/* ", " */"),
    "vim": ('" ', ""),
}


@dataclass(frozen=True, slots=True)
class Lead:
    """Tokens of other files: before the file's own text as a whole, or at its beginning."""

    before: list[int] = field(default_factory=list)
    inside: list[int] = field(default_factory=list)


NO_LEAD = Lead()


class ContextWriter:
    """max_tokens: for all pieces together, headings included; 0 = never any."""

    def __init__(self, tokenizer: CodeTokenizer, max_tokens: int) -> None:
        self._tokenizer, self._max_tokens = tokenizer, max_tokens
        self._repository = tokenizer.special_id(_REPOSITORY)
        self._file = tokenizer.special_id(_FILE)

    def write(self, snippets: Sequence[Snippet], path: str | None) -> Lead:
        """The pieces that fit, of `snippets` best first; the best stands next to the file itself.

        path: of the completed file. What does not fit is cut at a line end, or left out.
        """
        if not snippets or not self._max_tokens:
            return NO_LEAD
        if self._repository is None or self._file is None:
            return Lead(inside=self._comments(snippets, path))
        opening = [self._repository, *self._tokenizer.encode(f"{_REPOSITORY_NAME}\n")]
        heading = [self._file, *self._tokenizer.encode(f"{_shown(path or '')}\n")]
        pieces: list[list[int]] = []
        left = self._max_tokens - len(opening) - len(heading)
        for snippet in snippets:
            if left < _MIN_PIECE_TOKENS:
                break
            title = [self._file, *self._tokenizer.encode(f"{_shown(snippet.path)}\n")]
            body = self._fitting(_lines(snippet.text), left - len(title))
            if body:
                pieces.append([*title, *body])
                left -= len(pieces[-1])
        if not pieces:
            return NO_LEAD
        files = [token for piece in reversed(pieces) for token in piece]
        return Lead(before=[*opening, *files, *heading])

    def _comments(self, snippets: Sequence[Snippet], path: str | None) -> list[int]:
        pieces: list[list[int]] = []
        left = self._max_tokens
        for snippet in snippets:
            if left < _MIN_PIECE_TOKENS:
                break
            marks = comment_marks(snippet.path if path is None else path)
            title = self._tokenizer.encode(_comment(f"{_shown(snippet.path)}:", marks))
            lines = [_comment(line, marks) for line in _lines(snippet.text)]
            body = self._fitting(lines, left - len(title))
            if body:
                pieces.append([*title, *body])
                left -= len(pieces[-1])
        return [token for piece in reversed(pieces) for token in piece]

    def _fitting(self, lines: list[str], max_tokens: int) -> list[int]:
        """The first whole lines that `max_tokens` can hold; empty where they say nothing."""
        if max_tokens < _MIN_PIECE_TOKENS:
            return []
        text = "".join(lines)
        looked_at = text[: max_tokens * MAX_CHARS_PER_TOKEN]
        starts = self._tokenizer.token_starts(looked_at)
        if len(starts) > max_tokens or len(looked_at) < len(text):
            end = starts[max_tokens] if len(starts) > max_tokens else len(looked_at)
            text = text[: text.rfind("\n", 0, end) + 1]
        tokens = self._tokenizer.encode(text) if text.strip() else []
        # A cut may move token edges, so that the text in front of it takes one more.
        return tokens if len(tokens) <= max_tokens else []


def comment_marks(path: str) -> tuple[str, str]:
    """What opens and closes a comment line in the language that `path` names; ``#`` if unknown."""
    name = PurePosixPath(path.replace("\\", "/")).name.lower()
    return _COMMENTS.get(name.rpartition(".")[2], _HASH)


def _comment(line: str, marks: tuple[str, str]) -> str:
    text = line.rstrip("\n")
    return f"{marks[0]}{text}{marks[1]}".rstrip() + "\n"


def _lines(text: str) -> list[str]:
    """Without blank lines at either end; each line has its end."""
    whole = text.replace("\r\n", "\n").strip("\n").rstrip()
    return [f"{line}\n" for line in whole.split("\n")] if whole else []


def _shown(path: str) -> str:
    """`path` on one line, by its last characters when it is long."""
    return " ".join(path.replace("\\", "/").split())[-_MAX_PATH_CHARS:]
