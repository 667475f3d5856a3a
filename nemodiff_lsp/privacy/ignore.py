"""Ignore files: whether git's own rules, or the same rules of another name, hide a file.

Used by `policy.py`. The patterns are pathspec's; which file is asked for which folder, and that
nothing below a hidden folder can come back, is git's order of things and lives here. A tracked
file that a rule names counts as hidden, though git goes on tracking it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from nemodiff_lsp.privacy.regular_file import UnreadableFile, read_regular_file
from nemodiff_lsp.privacy.watched import Stamp, Watched

MAX_IGNORE_FILE_BYTES = 1024 * 1024
_MAX_PATTERN_CHARS = 4_096
# Python's regular expressions try every way to spread stars over a name: a folder from a stranger
# could hold the editor up with one line.
_MAX_STARS_PER_SEGMENT = 6
_MAX_STARS = 16
_MAX_KEPT_FILES = 1_024
_STARS = re.compile(r"\*+")
_FOLDER_MARK = "ps_d"


class BrokenIgnoreFile(Exception):
    """An ignore file that cannot be used: everything that it might hide counts as hidden.

    The message is one sentence and holds no path but the file's own constant name.
    """


@dataclass(frozen=True, slots=True)
class Rule:
    """One line: hides (or, negated, shows) what it matches."""

    matches: re.Pattern[str]
    is_hiding: bool
    marks_folders: bool

    def applies_to(self, relative: str, *, is_folder: bool) -> bool:
        """Whether it names exactly this path, not only a folder above it."""
        name = f"{relative}/" if is_folder and self.marks_folders else relative
        return self.matches.search(name) is not None


Rules = tuple[Rule, ...]


def parse_rules(lines: Iterable[str]) -> Rules:
    """The rules of an ignore file's lines. Raises ValueError for a line that cannot be used."""
    # Imported here because the language server starts without it.
    from pathspec.patterns.gitignore.spec import GitIgnoreSpecPattern

    rules = []
    for line in lines:
        stars = [len(_STARS.findall(segment)) for segment in line.split("/")]
        is_costly = max(stars) > _MAX_STARS_PER_SEGMENT or sum(stars) > _MAX_STARS
        if (is_costly or len(line) > _MAX_PATTERN_CHARS) and not line.startswith("#"):
            raise ValueError("a pattern that would take too long")
        regex, is_hiding = GitIgnoreSpecPattern.pattern_to_regex(line)
        if regex is None or is_hiding is None:
            continue
        marks_folders = f"(?P<{_FOLDER_MARK}>" in regex
        # The mark would also match below the folder; here each folder is asked for itself.
        whole = rf"(?:{regex})\Z" if marks_folders else regex
        rules.append(Rule(re.compile(whole, re.DOTALL), is_hiding, marks_folders))
    return tuple(rules)


class IgnoreFiles:
    """Reads ignore files, each once for each state it is in."""

    def __init__(self) -> None:
        self._kept: dict[str, tuple[Stamp, Rules | BrokenIgnoreFile]] = {}

    def rules(self, path: str, watched: Watched, *, shown_as: str) -> Rules:
        """The rules of the file at `path`, none when there is no such file.

        shown_as: what the file is called in the BrokenIgnoreFile that this may raise.
        """
        stamp = watched.file(path)
        if stamp is None:
            self._kept.pop(path, None)
            return ()
        kept = self._kept.get(path)
        if kept is None or kept[0] != stamp:
            if len(self._kept) >= _MAX_KEPT_FILES:
                self._kept.clear()
            kept = self._kept[path] = (stamp, _read(path, shown_as))
        if isinstance(kept[1], BrokenIgnoreFile):
            raise kept[1]
        return kept[1]

    def is_hidden(
        self, path: str, root: str, name: str, watched: Watched, base: Sequence[Rules] = ()
    ) -> bool:
        """Whether the files called `name` in `root` and below hide `path`, which lies in `root`.

        base: rules for `root` that come before, weakest first. Raises BrokenIgnoreFile.
        """
        parts = os.path.relpath(path, root).split(os.sep)
        # Of each level: how many parts deep it lies, and its rules.
        levels: list[tuple[int, Rules]] = [(0, rules) for rules in base]
        for depth in range(len(parts)):
            file = os.path.join(root, *parts[:depth], name)
            levels.append((depth, self.rules(file, watched, shown_as=name)))
            if _is_hidden_by(levels, parts[: depth + 1], is_folder=depth + 1 < len(parts)):
                return True
        return False


def is_hidden_by_rules(path: str, root: str, rules: Rules) -> bool:
    """Whether `rules`, written for `root`, hide `path`, which lies in it, or a folder above it."""
    parts = os.path.relpath(path, root).split(os.sep)
    return any(
        _is_hidden_by([(0, rules)], parts[:depth], is_folder=depth < len(parts))
        for depth in range(1, len(parts) + 1)
    )


def _is_hidden_by(
    levels: Sequence[tuple[int, Rules]], parts: Sequence[str], *, is_folder: bool
) -> bool:
    """What the last rule that applies says."""
    for depth, rules in reversed(levels):
        relative = "/".join(parts[depth:])
        for rule in reversed(rules):
            if rule.applies_to(relative, is_folder=is_folder):
                return rule.is_hiding
    return False


def _read(path: str, shown_as: str) -> Rules | BrokenIgnoreFile:
    try:
        content = read_regular_file(path, max_bytes=MAX_IGNORE_FILE_BYTES)
        text = (content or b"").decode("utf-8-sig")
        if "\0" in text:
            raise ValueError("a NUL character")
        return parse_rules(text.split("\n"))
    except UnreadableFile as error:
        why = str(error)
    except UnicodeDecodeError:
        why = "it is not UTF-8 text"
    except (ValueError, re.error, RecursionError, OverflowError):
        why = "it holds a line that is no pattern"
    return BrokenIgnoreFile(
        f"{shown_as} cannot be used ({why}); until it is repaired, everything it might hide is "
        f"left out."
    )
