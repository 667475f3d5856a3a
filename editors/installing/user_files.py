"""Changes to a user's files that can be taken back: a link, a file of our own, a block in theirs.

What is ours carries a mark with a checksum. What the user has, and what the user has changed of
ours, is never written over and never removed.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import tempfile
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Protocol

_COPY_MARK = ".nemodiff-copy"


class InstallError(Exception):
    """Something cannot be installed here; one sentence that says what to do."""


class State(Enum):
    """What is at a place that we want to change."""

    ABSENT = "nothing of ours"
    OLD = "an older one of ours"
    OURS = "as it should be"
    CHANGED = "ours, changed by hand"
    FOREIGN = "not ours"


class Change(Protocol):
    """One change; `put` and `take_back` are only called where `state` allows them."""

    @property
    def path(self) -> Path: ...

    def state(self) -> State: ...

    def put(self) -> None: ...

    def take_back(self) -> None: ...

    def preview(self) -> str:
        """What is put there."""
        ...


@dataclass(frozen=True)
class Link:
    """`path` leads to `target`; a copy of it where links cannot be made."""

    path: Path
    target: Path

    def state(self) -> State:
        if self.path.is_symlink():
            if self.path.resolve() == self.target.resolve():
                return State.OURS
            # A link of ours whose clone is gone leads nowhere.
            is_lost = not self.path.exists() and self.path.readlink().name == self.target.name
            return State.OLD if is_lost else State.FOREIGN
        if (self.path / _COPY_MARK).exists():
            return State.OLD
        return State.FOREIGN if self.path.exists() else State.ABSENT

    def put(self) -> None:
        if self.state() is State.OLD:
            self.take_back()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self.path.symlink_to(self.target)
        except (OSError, NotImplementedError):
            if not self.target.is_dir():
                raise
            shutil.copytree(self.target, self.path)
            (self.path / _COPY_MARK).touch()

    def take_back(self) -> None:
        if self.path.is_symlink():
            self.path.unlink()
        else:
            shutil.rmtree(self.path)
        remove_empty(self.path.parent)

    def preview(self) -> str:
        return f"a link to {self.target}"


@dataclass(frozen=True)
class Block:
    """Lines of ours at the end of a file of the user's, or a file that holds nothing else.

    comment: what begins a comment in the file's language.
    """

    path: Path
    body: str
    comment: str

    def state(self) -> State:
        found = self._find()
        if found is None:
            return State.ABSENT
        if found["sum"].decode() != _checksum(found["body"]):
            return State.CHANGED
        is_same = found["body"].decode() == self.body and found["sum"] in self._block()
        return State.OURS if is_same else State.OLD

    def put(self) -> None:
        if self.state() is State.OLD:
            self.take_back()
        before = self._read()
        # The line end before the block is the block's own, so that every byte can come back.
        start = b"\n" if self.path.exists() else b""
        write(self.path, before + start + self._block())

    def take_back(self) -> None:
        found = self._find()
        assert found is not None
        text = self._read()
        rest = text[: found.start()] + text[found.end() :]
        if not rest and not found["before"]:
            self.path.unlink()
            remove_empty(self.path.parent)
        else:
            write(self.path, rest)

    def preview(self) -> str:
        return self._block().decode()

    def _read(self) -> bytes:
        return self.path.read_bytes() if self.path.exists() else b""

    def _find(self) -> re.Match[bytes] | None:
        comment = re.escape(self.comment.encode())
        pattern = (
            rb"(?P<before>\n?)^" + comment + rb" >>> NemoDiff (?P<sum>\w+) [^\n]*\n"
            rb"(?P<body>.*?)^" + comment + rb" <<< NemoDiff\n"
        )
        return re.search(pattern, self._read(), re.DOTALL | re.MULTILINE)

    def _block(self) -> bytes:
        body = self.body.encode()
        how = "by editors/install.py, which takes it back with --remove"
        first = f"{self.comment} >>> NemoDiff {_checksum(body)} {how}\n"
        return first.encode() + body + f"{self.comment} <<< NemoDiff\n".encode()


def _checksum(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()[:12]


def write(path: Path, text: bytes) -> None:
    """Replace a file, or the one that it links to, in one step; its mode stays."""
    path = path.resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(text)
        Path(name).chmod(path.stat().st_mode & 0o7777 if path.exists() else 0o644)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def remove_empty(folder: Path) -> None:
    """Remove `folder` and those above that are empty then, below the user's own folders."""
    names = ("HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME")
    kept = {Path(value).resolve() for name in names if (value := os.environ.get(name))}
    with contextlib.suppress(OSError):
        while folder.resolve() not in kept and not any(folder.iterdir()):
            folder.rmdir()
            folder = folder.parent
