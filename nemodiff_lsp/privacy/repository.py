"""Repositories: which git work trees a file lies in, and the ignore files beside their .gitignore.

Used by `policy.py`. Git itself is asked only for its configuration, which has includes and
conditions of its own, and only where that names an ignore file.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Sequence

from nemodiff_lsp.privacy.git import GitAnswers, broken
from nemodiff_lsp.privacy.ignore import BrokenIgnoreFile, IgnoreFiles, Rules
from nemodiff_lsp.privacy.regular_file import UnreadableFile, read_regular_file
from nemodiff_lsp.privacy.watched import Watched

_MAX_POINTER_BYTES = 64 * 1024
_MAX_CONFIG_BYTES = 4 * 1024 * 1024
_MAY_NAME_A_FILE = re.compile(rb"excludesfile|\[\s*include", re.IGNORECASE)

_GLOBAL_NAME = "git's global ignore file"
_LOCAL_NAME = "the repository's ignore file (core.excludesFile)"
_INFO_NAME = ".git/info/exclude"


def folders_above(path: str) -> list[str]:
    """The folders that hold `path`, the nearest first, up to the root."""
    folders = []
    while (parent := os.path.dirname(path)) != path:
        folders.append(parent)
        path = parent
    return folders


def work_trees(path: str, workspace: str | None, watched: Watched) -> list[str]:
    """The folders with a ``.git`` that hold `path`, which make its ignore files count.

    All those inside the opened folder; without one there, the nearest above, as for git.
    """
    inside: list[str] = []
    for folder in folders_above(path):
        is_inside = workspace is not None and is_within(folder, workspace)
        if inside and not is_inside:
            break
        if watched.entry(os.path.join(folder, ".git")) is not None:
            inside.append(folder)
            if not is_inside:
                break
    return inside


def is_within(path: str, folder: str) -> bool:
    """Whether `path` is `folder` or lies in it; both absolute and normal."""
    path, folder = os.path.normcase(path), os.path.normcase(folder)
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)


class Repositories:
    """Finds and reads what applies to a whole work tree, weakest first.

    is_trusted: false = a repository that keeps its own data, or names an ignore file, outside
    `folders` and itself is not followed there; BrokenIgnoreFile is raised instead.
    """

    def __init__(self, files: IgnoreFiles, folders: Sequence[str], *, is_trusted: bool) -> None:
        self._files = files
        self._folders = tuple(folders)
        self._is_trusted = is_trusted
        self._git = GitAnswers()

    def base_rules(self, root: str, watched: Watched) -> list[Rules]:
        """The rules of core.excludesFile and info/exclude. Raises BrokenIgnoreFile, GitPending."""
        common = self._common_folder(root, watched)
        named = self._named_by_repository(root, common, watched)
        if named is not None:
            first = self._files.rules(named, watched, shown_as=_LOCAL_NAME)
        else:
            first = self._global_rules(watched)
        info = os.path.join(common, "info", "exclude")
        return [first, self._files.rules(info, watched, shown_as=_INFO_NAME)]

    def _common_folder(self, root: str, watched: Watched) -> str:
        """Where the repository of the work tree `root` keeps what its work trees share."""
        dot_git = os.path.join(root, ".git")
        try:
            if stat.S_ISDIR(os.stat(dot_git).st_mode):
                return dot_git
        except OSError as error:
            raise BrokenIgnoreFile(broken(".git", error.strerror or "unreadable")) from None
        pointer = _pointer(dot_git, watched, prefix="gitdir:")
        if pointer is None:
            raise BrokenIgnoreFile(broken(".git", "it points nowhere"))
        own = os.path.normpath(os.path.join(root, pointer))
        shared = _pointer(os.path.join(own, "commondir"), watched)
        common = own if shared is None else os.path.normpath(os.path.join(own, shared))
        return self._reachable(common, root, ".git")

    def _reachable(self, path: str, root: str, name: str) -> str:
        real = os.path.realpath(path)
        if self._is_trusted or any(is_within(real, each) for each in (root, *self._folders)):
            return path
        raise BrokenIgnoreFile(
            broken(name, "it leads out of the opened folder, which is not trusted")
        )

    def _named_by_repository(self, root: str, common: str, watched: Watched) -> str | None:
        """core.excludesFile of the repository itself, or None."""
        config = os.path.join(common, "config")
        stamp = watched.file(config)
        if stamp is None:
            return None
        try:
            content = read_regular_file(config, max_bytes=_MAX_CONFIG_BYTES) or b""
        except UnreadableFile as error:
            raise BrokenIgnoreFile(broken(".git/config", str(error))) from None
        if not _MAY_NAME_A_FILE.search(content):
            return None
        named = self._git.excludes_file(config, stamp, ("--file", config, "--includes"))
        if named is None:
            return None
        return self._reachable(os.path.join(root, named), root, "core.excludesFile")

    def _global_rules(self, watched: Watched) -> Rules:
        home = os.path.expanduser("~")
        settled = os.environ.get("XDG_CONFIG_HOME") or os.path.join(home, ".config")
        own = os.environ.get("GIT_CONFIG_GLOBAL")
        candidates = (
            [own]
            if own
            else [
                os.path.join(home, ".gitconfig"),
                os.path.join(settled, "git", "config"),
            ]
        )
        stamps = tuple(number for path in candidates for number in watched.file(path) or (0,))
        named = self._git.excludes_file("", stamps, ("--includes",))
        path = named or os.path.join(settled, "git", "ignore")
        return self._files.rules(os.path.join(home, path), watched, shown_as=_GLOBAL_NAME)


def _pointer(path: str, watched: Watched, *, prefix: str = "") -> str | None:
    """The path that a one-line file holds, or None without such a file or line."""
    watched.file(path)
    try:
        content = read_regular_file(path, max_bytes=_MAX_POINTER_BYTES)
    except UnreadableFile as error:
        raise BrokenIgnoreFile(broken(".git", str(error))) from None
    line = os.fsdecode(content or b"").strip("\r\n")
    if not line.startswith(prefix) or "\0" in line:
        return None
    return line.removeprefix(prefix).strip() or None
