"""A folder cut into files of limited size, and put together again, every byte checked.

For machines that take a training run's inputs and give its results back only in small files: the
base, the corpus and a run's state travel as ``piece-00000`` ... beside a ``pieces.json``.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from engine.training.loop import TrainingError

INDEX_FILE = "pieces.json"
_BUFFER_BYTES = 2**20


def split_folder(folder: Path, out: Path, max_bytes: int) -> int:
    """Write the regular files of `folder` as pieces of at most `max_bytes` into `out`.

    Returns the number of pieces. Raises TrainingError when there is nothing to split, or when
    `out` holds files already.
    """
    files = sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    if not files:
        raise TrainingError(f"{folder} holds no files to split.")
    out.mkdir(parents=True, exist_ok=True)
    if any(out.iterdir()):
        raise TrainingError(f"{out} is not empty; choose another --out.")
    entries = []
    with _Pieces(out, max_bytes) as pieces:
        for path in files:
            digest, size = hashlib.sha256(), 0
            with path.open("rb") as source:
                while chunk := source.read(_BUFFER_BYTES):
                    digest.update(chunk)
                    size += len(chunk)
                    pieces.write(chunk)
            name = path.relative_to(folder).as_posix()
            entries.append({"path": name, "num_bytes": size, "sha256": digest.hexdigest()})
    index = {"num_pieces": pieces.num_pieces, "files": entries}
    (out / INDEX_FILE).write_text(json.dumps(index, indent=1), encoding="utf-8")
    return pieces.num_pieces


def join_folder(pieces: Path, out: Path) -> int:
    """Put the folder in `pieces` together in `out`; returns the number of files.

    Each file appears by a rename, after its sha256 has been found right. Raises TrainingError.
    """
    index = _read_index(pieces)
    stream = _Joined(pieces, int(index["num_pieces"]))
    for entry in index["files"]:
        name = PurePosixPath(entry["path"])
        if name.is_absolute() or ".." in name.parts:
            raise TrainingError(f"{pieces / INDEX_FILE} names a file outside the folder: {name}.")
        target = out.joinpath(*name.parts)
        target.parent.mkdir(parents=True, exist_ok=True)
        unfinished = target.with_name(f"{target.name}.part")
        digest = hashlib.sha256()
        with unfinished.open("wb") as sink:
            for chunk in stream.read(int(entry["num_bytes"])):
                digest.update(chunk)
                sink.write(chunk)
        if digest.hexdigest() != entry["sha256"]:
            unfinished.unlink()
            raise TrainingError(f"{name} is damaged: its pieces in {pieces} must be copied again.")
        os.replace(unfinished, target)
    return len(index["files"])


def _read_index(pieces: Path) -> dict[str, Any]:
    path = pieces / INDEX_FILE
    try:
        index: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        missing = [
            _name(number)
            for number in range(int(index["num_pieces"]))
            if not (pieces / _name(number)).is_file()
        ]
        for entry in index["files"]:
            _ = str(entry["path"]), int(entry["num_bytes"]), entry["sha256"]
    except FileNotFoundError:
        raise TrainingError(f"{pieces} holds no {INDEX_FILE}.") from None
    except (ValueError, KeyError, TypeError):
        raise TrainingError(f"{path} is damaged; copy it again.") from None
    if missing:
        raise TrainingError(f"{pieces} lacks {', '.join(missing[:5])}; copy all pieces.")
    return index


def _name(number: int) -> str:
    return f"piece-{number:05d}"


class _Pieces:
    """A sink that begins a new file whenever the present one is full."""

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self._folder, self._max_bytes = folder, max_bytes
        self._file: BinaryIO | None = None
        self._room = 0
        self.num_pieces = 0

    def write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            if self._room == 0:
                self.close()
                self._file = (self._folder / _name(self.num_pieces)).open("wb")
                self.num_pieces += 1
                self._room = self._max_bytes
            assert self._file is not None
            taken = view[: self._room]
            self._file.write(taken)
            self._room -= len(taken)
            view = view[len(taken) :]

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def __enter__(self) -> _Pieces:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


class _Joined:
    """The pieces read as one stream."""

    def __init__(self, folder: Path, num_pieces: int) -> None:
        self._folder, self._num_pieces = folder, num_pieces
        self._number, self._at = 0, 0

    def read(self, num_bytes: int) -> Iterator[bytes]:
        while num_bytes and self._number < self._num_pieces:
            with (self._folder / _name(self._number)).open("rb") as file:
                file.seek(self._at)
                while num_bytes and (chunk := file.read(min(num_bytes, _BUFFER_BYTES))):
                    self._at += len(chunk)
                    num_bytes -= len(chunk)
                    yield chunk
            if num_bytes:
                self._number, self._at = self._number + 1, 0
