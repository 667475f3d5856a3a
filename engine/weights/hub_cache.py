"""Local copies of hub checkpoints: which commits are here, and which commit a branch meant.

Below ``hub/<owner>--<name>/`` of the cache folder: ``<commit>/`` (the files), ``<commit>.json``
(what belongs there), ``refs.json`` (revision -> commit of its last whole copy), ``incomplete/``
(pieces of files). `engine.weights.hub_snapshot` reads it, and writes it under a lock.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from engine.weights import store

COMMIT = re.compile(r"[0-9a-f]{40}")
"""A git commit in full: what it names never changes."""


@dataclass(frozen=True, slots=True)
class HubFile:
    """One file of a commit. name: path with slashes; sha256: None where the hub tells none."""

    name: str
    num_bytes: int
    sha256: str | None

    def is_at(self, folder: Path) -> bool:
        """Whether `folder` holds this file in its full size (the content was checked before)."""
        try:
            return (folder / self.name).stat().st_size == self.num_bytes
        except OSError:
            return False


@dataclass(frozen=True, slots=True)
class HubCache:
    """The local side of one hub repository (``owner/name``)."""

    repository: str

    @property
    def lock_name(self) -> str:
        """For `store.locked`; the hub itself forbids ``--`` in names."""
        return f"hub--{self.repository.replace('/', '--')}"

    @property
    def folder(self) -> Path:
        return store.cache_folder() / "hub" / self.repository.replace("/", "--")

    def commit_folder(self, commit: str) -> Path:
        return self.folder / commit

    def incomplete(self, commit: str, file: HubFile) -> Path:
        """Where the pieces of `file` are kept, by content where it is known."""
        return self.folder / "incomplete" / (file.sha256 or f"{commit}-{quote(file.name, safe='')}")

    def find(self, revision: str) -> Path | None:
        """The whole copy of `revision` (branch, tag or commit), or None."""
        commit = revision if COMMIT.fullmatch(revision) else self.commit_of(revision)
        files = None if commit is None else self._listing(commit)
        if commit is None or files is None:
            return None
        folder = self.commit_folder(commit)
        return folder if all(file.is_at(folder) for file in files) else None

    def commit_of(self, revision: str) -> str | None:
        """The commit that `revision` was when it was last fetched in whole, or None."""
        commit = self._refs().get(revision)
        return commit if isinstance(commit, str) and COMMIT.fullmatch(commit) else None

    def remember(self, revision: str, commit: str) -> None:
        """Note that `revision` is `commit`, of which there is a whole copy. Raises OSError."""
        _write_json(self.folder / "refs.json", {**self._refs(), revision: commit})

    def write_listing(self, commit: str, files: Sequence[HubFile]) -> None:
        """Note what belongs to `commit`. Raises OSError."""
        _write_json(self.folder / f"{commit}.json", {"files": [asdict(file) for file in files]})

    def twin(self, wanted: HubFile) -> Path | None:
        """A file of the same content that another commit brought here, or None."""
        if wanted.sha256 is None:
            return None
        for path in self.folder.glob("*.json"):
            folder = self.commit_folder(path.stem)
            for file in self._listing(path.stem) or ():
                if file.sha256 == wanted.sha256 and file.is_at(folder):
                    return folder / file.name
        return None

    def _refs(self) -> dict[str, Any]:
        found = _read_json(self.folder / "refs.json")
        return found if isinstance(found, dict) else {}

    def _listing(self, commit: str) -> tuple[HubFile, ...] | None:
        found = _read_json(self.folder / f"{commit}.json")
        try:
            return tuple(HubFile(**facts) for facts in found["files"])
        except (TypeError, KeyError):
            return None


def _read_json(path: Path) -> Any:
    """What `path` holds, or None where that cannot be read: it is fetched anew then."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _write_json(path: Path, value: Any) -> None:
    """Replace `path` by one rename; the caller holds the lock, so one fixed name will do."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f"{path.name}.new")
    fresh.write_text(json.dumps(value, indent=1), encoding="utf-8")
    os.replace(fresh, path)
