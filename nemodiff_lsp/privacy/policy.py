"""FilePolicy: which documents may be completed or be context. Asked before any text leaves here.

Owned by `server.py`, made anew when folders or settings change. Whatever cannot be decided is left
out. Warm it takes a stat for each ignore file that could matter and a pass over the text.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from nemodiff_lsp.privacy.content import EditedText, objection_to, objection_to_edited
from nemodiff_lsp.privacy.git import GitPending, GitUnanswered
from nemodiff_lsp.privacy.ignore import (
    BrokenIgnoreFile,
    IgnoreFiles,
    is_hidden_by_rules,
    parse_rules,
)
from nemodiff_lsp.privacy.location import locate_document
from nemodiff_lsp.privacy.repository import Repositories, folders_above, is_within, work_trees
from nemodiff_lsp.privacy.secrets import is_secret_language, is_secret_name, is_secret_path
from nemodiff_lsp.privacy.watched import Watched
from nemodiff_lsp.settings.settings import Settings

logger = logging.getLogger(__name__)

_UNENCODED = re.compile(r"[?#]")

OWN_IGNORE_FILE = ".nemodiffignore"
GIT_IGNORE_FILE = ".gitignore"
_MAX_KEPT_VERDICTS = 1_024


@dataclass(frozen=True, slots=True)
class Verdict:
    """reason: one sentence for the user, empty when allowed; names the rule, never text or path.

    pending: what may still allow it, when that comes in.
    """

    is_allowed: bool
    reason: str = ""
    pending: GitPending | None = field(default=None, compare=False, repr=False)


_ALLOWED = Verdict(True)
_SECRET = Verdict(False, "Files of this name or folder hold secrets by custom.")
_SECRET_LANGUAGE = Verdict(False, "Files of this language hold secrets by custom.")
_FOREIGN = Verdict(False, "The document is no file of the workspace.")
_OUTSIDE = Verdict(False, "The file lies outside the opened folders.")
_LINKED_OUTSIDE = Verdict(False, "The file is a link to a place outside the opened folders.")
_GIT_IGNORED = Verdict(False, "The file is ignored by git.")
_OWN_IGNORED = Verdict(False, f"The file is named in {OWN_IGNORE_FILE}.")
_PATTERN = Verdict(False, "The file matches the setting excludePatterns.")


@dataclass(frozen=True, slots=True)
class _Kept:
    """A verdict on a place, as long as it leads to the same file and nothing watched changes."""

    real_path: str | None
    watched: Watched
    verdict: Verdict


class FilePolicy:
    """Judges documents by place and text; from any thread. Without opened folders no place is
    outside.

    folders: the opened ones, absolute. is_trusted: whether a repository in them may name files
    elsewhere on the machine.
    """

    def __init__(self, folders: Sequence[Path], *, is_trusted: bool, settings: Settings) -> None:
        named = [os.path.abspath(folder) for folder in folders]
        self._folders = tuple(dict.fromkeys((*named, *(os.path.realpath(each) for each in named))))
        self._max_chars = settings.max_file_chars
        self._max_line_chars = settings.max_line_chars
        self._patterns = settings.exclude_patterns
        self._files = IgnoreFiles()
        self._repositories = Repositories(self._files, self._folders, is_trusted=is_trusted)
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        self._lock = threading.Lock()

    def judge(
        self, uri: str, text: str | EditedText | None, *, language_id: str | None = None
    ) -> Verdict:
        """Whether the document may be completed and be context. Never raises.

        text: the whole document. None judges the place alone: judge again, with the text, before
        any of it is used.
        """
        try:
            verdict = self._judge_uri(uri)
            if not verdict.is_allowed:
                return verdict
            if is_secret_language(language_id):
                return _SECRET_LANGUAGE
            objection = None if text is None else self._objection_to(text, language_id)
            return _ALLOWED if objection is None else Verdict(False, objection)
        except Exception as error:
            logger.debug("A document could not be judged.", exc_info=True)
            kind = type(error).__name__
            return Verdict(False, f"Whether the file is private could not be decided ({kind}).")

    def judge_path(self, path: Path, text: str | None) -> Verdict:
        """`judge` for a file that the editor has not opened."""
        return self.judge(path.absolute().as_uri(), text)

    def _objection_to(self, text: str | EditedText, language_id: str | None) -> str | None:
        limits = {"max_chars": self._max_chars, "max_line_chars": self._max_line_chars}
        if isinstance(text, str):
            return objection_to(text, language_id, **limits)
        return objection_to_edited(text, language_id, **limits)

    def _judge_uri(self, uri: str) -> Verdict:
        """Off the event loop it waits for git; on it, a git that takes its time means no."""
        while True:
            try:
                with self._lock:
                    verdict = self._judge_place(uri)
                    # A sign that should be encoded may belong to the name or end it: both must
                    # pass.
                    short = _UNENCODED.split(uri, maxsplit=1)[0]
                    if verdict.is_allowed and short != uri:
                        verdict = self._judge_place(short)
                    return verdict
            except GitPending as pending:
                if _is_on_event_loop() or not pending.wait():
                    return Verdict(False, str(pending), pending)

    def _judge_place(self, uri: str) -> Verdict:
        kept = self._kept.get(uri)
        location = locate_document(uri)
        if location is None:
            return _FOREIGN
        if location.path is None:
            return _SECRET if is_secret_name(location.name) else _ALLOWED
        real_path = os.path.realpath(location.path)
        if kept is None or kept.real_path != real_path or not kept.watched.is_unchanged():
            watched = Watched()
            verdict = self._judge_paths(location.path, real_path, watched)
            kept = self._kept[uri] = _Kept(real_path, watched, verdict)
            if len(self._kept) > _MAX_KEPT_VERDICTS:
                self._kept.popitem(last=False)
        self._kept.move_to_end(uri)
        return kept.verdict

    def _judge_paths(self, path: str, real_path: str, watched: Watched) -> Verdict:
        """Both the link and what it leads to must be allowed."""
        paths = tuple(dict.fromkeys((path, real_path)))
        if any(is_secret_path(each) for each in paths):
            return _SECRET
        if self._folders:
            if self._folder_of(path) is None:
                return _OUTSIDE
            if self._folder_of(real_path) is None:
                return _LINKED_OUTSIDE
        try:
            for each in paths:
                verdict = self._judge_by_rules(each, watched)
                if not verdict.is_allowed:
                    return verdict
        except BrokenIgnoreFile as broken:
            if isinstance(broken, GitUnanswered):
                watched.retry_at_s = broken.retry_at_s
            return Verdict(False, str(broken))
        return _ALLOWED

    def _folder_of(self, path: str) -> str | None:
        """The outermost opened folder that holds `path`."""
        holding = [folder for folder in self._folders if is_within(path, folder)]
        return min(holding, key=len) if holding else None

    def _judge_by_rules(self, path: str, watched: Watched) -> Verdict:
        """Raises BrokenIgnoreFile."""
        workspace = self._folder_of(path)
        trees = work_trees(path, workspace, watched)
        for tree in trees:
            base = self._repositories.base_rules(tree, watched)
            if self._files.is_hidden(path, tree, GIT_IGNORE_FILE, watched, base):
                return _GIT_IGNORED
        # A folder that is no repository yet may have its .gitignore all the same.
        top = min([*trees, workspace or folders_above(path)[0]], key=len)
        if not trees and self._files.is_hidden(path, top, GIT_IGNORE_FILE, watched):
            return _GIT_IGNORED
        if self._files.is_hidden(path, top, OWN_IGNORE_FILE, watched):
            return _OWN_IGNORED
        if self._patterns and self._matches_patterns(path, workspace or top):
            return _PATTERN
        return _ALLOWED

    def _matches_patterns(self, path: str, top: str) -> bool:
        try:
            rules = parse_rules(self._patterns)
        except ValueError:
            raise BrokenIgnoreFile(
                "The setting excludePatterns holds a line that is no pattern; until it is "
                "repaired, nothing is completed."
            ) from None
        return is_hidden_by_rules(path, top, rules)


def _is_on_event_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
