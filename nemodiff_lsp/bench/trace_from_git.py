"""A repository's commits to a typing trace: `nemodiff bench trace`. Called by `__main__.py`.

Each file that a commit changed becomes a sitting: its text before, and the edits that lead to the
text after, top to bottom. Lines that were changed only in part are edited in part.
"""

from __future__ import annotations

import difflib
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from nemodiff_lsp.bench.typing_trace import Edit, Sitting, Trace, TraceError

LANGUAGES = {
    ".py": "python",
    ".lua": "lua",
    ".js": "javascript",
    ".ts": "typescript",
    ".tsx": "typescriptreact",
    ".go": "go",
    ".rs": "rust",
    ".c": "c",
    ".cpp": "cpp",
    ".java": "java",
    ".kt": "kotlin",
    ".rb": "ruby",
    ".sh": "shellscript",
}
"""Which files are taken, and what their language is called in the protocol."""

MAX_FILE_CHARS = 60_000

_TOKEN = re.compile(r"\w+|[^\S\n]+|\n|[^\w\s]")
# Changed lines that are this much alike are edited; others are deleted and typed anew.
_MIN_LIKENESS = 0.5
# Nobody stops typing for fewer characters than these that were right already.
_MIN_KEPT_CHARS = 4


@dataclass(frozen=True, slots=True)
class Limits:
    """max_sittings: evenly spaced over the history; max_chars: typed in one sitting."""

    max_sittings: int = 60
    max_chars: int = 60
    min_chars: int = 20


def trace_of(repository: Path, limits: Limits) -> Trace:
    """The trace of what was done in `repository`. Raises TraceError."""
    found = [
        cut
        for sitting in sittings_of(repository)
        if (cut := _shortened(sitting, limits)) is not None
    ]
    if not found:
        raise TraceError(f"No commit of {repository} changes source files that are known here.")
    step = max(1.0, len(found) / limits.max_sittings)
    chosen = [found[int(index * step)] for index in range(min(len(found), limits.max_sittings))]
    name = repository.resolve().name
    return Trace(
        f"{len(chosen)} of {len(found)} changed files in the history of {name}", (*chosen,)
    )


def sittings_of(repository: Path) -> Iterator[Sitting]:
    """Every changed file of every commit, oldest first, untouched. Raises TraceError."""
    for line in _git(repository, "log", "--reverse", "--no-merges", "--format=%H %P").splitlines():
        commit, *parents = line.split()
        # Without a parent everything is new: compared with git's empty tree.
        parent = parents[0] if parents else _git(repository, "hash-object", "-t", "tree", "--stdin")
        changed = _git(
            repository,
            *("diff-tree", "-r", "--no-renames", "--diff-filter=AM", "--name-status", "-z"),
            *(parent.strip(), commit),
        )
        fields = changed.split("\0")
        for kind, path in zip(fields[::2], fields[1::2], strict=False):
            language_id = LANGUAGES.get(PurePosixPath(path).suffix)
            if language_id is not None:
                before = _text_of(repository, parent.strip(), path) if kind == "M" else ""
                after = _text_of(repository, commit, path)
                if before is not None and after is not None and before != after:
                    edits = edits_between(before, after)
                    yield Sitting(commit[:10], path, language_id, before, edits)


def _text_of(repository: Path, commit: str, path: str) -> str | None:
    """The file's text, or None where it is not plain text of a usual size."""
    data = _git_bytes(repository, "cat-file", "blob", f"{commit}:{path}")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        return None
    is_plain = "\0" not in text and "\r" not in text and len(text) <= MAX_FILE_CHARS
    return text if is_plain else None


def edits_between(before: str, after: str) -> tuple[Edit, ...]:
    """Edits that turn `before` into `after`, top to bottom, as a person would make them."""
    old, new = before.splitlines(keepends=True), after.splitlines(keepends=True)
    matcher = difflib.SequenceMatcher(None, old, new, autojunk=False)
    edits: list[Edit] = []
    position = 0
    for kind, i1, i2, j1, j2 in matcher.get_opcodes():
        removed, added = "".join(old[i1:i2]), "".join(new[j1:j2])
        if kind != "equal":
            edits.extend(_within(removed, added, position))
        position += len(added)
    return tuple(_as_typed(before, edits))


def _within(removed: str, added: str, position: int) -> Iterator[Edit]:
    """Edits of one run of changed lines that begins at `position` of the new text."""
    old, new = _TOKEN.findall(removed), _TOKEN.findall(added)
    matcher = difflib.SequenceMatcher(None, old, new, autojunk=False)
    if matcher.ratio() < _MIN_LIKENESS:
        yield Edit(position, len(removed), added)
        return
    pending: tuple[int, str, str] | None = None
    for kind, i1, i2, j1, j2 in matcher.get_opcodes():
        gone, come = "".join(old[i1:i2]), "".join(new[j1:j2])
        is_kept = kind == "equal" and len(come) >= _MIN_KEPT_CHARS
        if not is_kept and (pending is not None or kind != "equal"):
            start, before, so_far = pending or (position, "", "")
            pending = start, before + gone, so_far + come
        elif pending is not None:
            yield Edit(pending[0], len(pending[1]), pending[2])
            pending = None
        position += len(come)
    if pending is not None:
        yield Edit(pending[0], len(pending[1]), pending[2])


def _as_typed(text: str, edits: list[Edit]) -> Iterator[Edit]:
    """The same edits, without what they delete and type again, and whole lines from a line's end.

    Who adds a line goes to the end of the line above and presses Enter.
    """
    for edit in edits:
        offset, inserted = edit.offset, edit.inserted
        deleted = text[offset : offset + edit.num_deleted]
        text = text[:offset] + inserted + text[offset + edit.num_deleted :]
        while deleted and inserted and deleted[0] == inserted[0]:
            deleted, inserted, offset = deleted[1:], inserted[1:], offset + 1
        while deleted and inserted and deleted[-1] == inserted[-1]:
            deleted, inserted = deleted[:-1], inserted[:-1]
        begins_line = offset > 0 and text[offset - 1] == "\n"
        if not deleted and begins_line and inserted.endswith("\n"):
            offset, inserted = offset - 1, "\n" + inserted[:-1]
        if deleted or inserted:
            yield Edit(offset, len(deleted), inserted)


def _shortened(sitting: Sitting, limits: Limits) -> Sitting | None:
    """The part of a sitting that is replayed, or None when too little is typed in it.

    A file typed from its first character begins in its middle, at the same place each time.
    """
    base, edits = sitting.base, list(sitting.edits)
    if not base and len(edits) == 1:
        text = edits[0].inserted
        middle = text.find("\n", len(text) * (sum(map(ord, sitting.path)) % 80) // 100) + 1
        if text[middle:].strip():
            base, edits = text[:middle], [Edit(middle, 0, text[middle:].rstrip("\n"))]
    kept: list[Edit] = []
    num_left = limits.max_chars
    for edit in edits:
        if num_left <= 0:
            break
        inserted = edit.inserted
        if len(inserted) > num_left:
            # Ends with the line in which the limit is reached.
            end = inserted.find("\n", num_left)
            inserted = inserted if end < 0 else inserted[:end]
        kept.append(Edit(edit.offset, edit.num_deleted, inserted))
        num_left -= len(inserted)
        if inserted != edit.inserted:
            break
    if sum(len(edit.inserted) for edit in kept) < limits.min_chars:
        return None
    return Sitting(sitting.commit, sitting.path, sitting.language_id, base, tuple(kept))


def _git(repository: Path, *arguments: str) -> str:
    return _git_bytes(repository, *arguments).decode("utf-8", "replace")


def _git_bytes(repository: Path, *arguments: str) -> bytes:
    command = ["git", "-C", str(repository), *arguments]
    try:
        run = subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL, check=False)
    except OSError as error:
        raise TraceError(f"git cannot be run ({error.strerror}).") from None
    if run.returncode:
        words = run.stderr.decode("utf-8", "replace").strip().splitlines() or ["no reason given"]
        raise TraceError(f"git failed in {repository}: {words[-1]}")
    return run.stdout
