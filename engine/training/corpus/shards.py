"""The corpus on disk: gzip shards of one JSON object a line, written once and read in order.

`build.py` writes them; the trainer and the cutter of evaluation sets read them.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import BinaryIO, Literal, get_args

from engine.training.corpus.errors import CorpusError

Split = Literal["train", "heldout"]
SPLITS: tuple[Split, ...] = get_args(Split)
LANGUAGES = ("python", "typescript", "javascript", "rust", "go")
MAX_SHARD_BYTES = 60 * 2**20

# What the compressor may still hold back when a shard's size is looked at.
_PENDING_BYTES = 2**20
_PATTERN = "shard-*.jsonl.gz"


@dataclass(frozen=True, slots=True)
class Document:
    """One source file. text: its lines end in "\\n"; path: inside the package, with "/"."""

    ecosystem: str
    package: str
    version: str
    path: str
    language: str
    text: str

    def to_json(self) -> str:
        return json.dumps(asdict(self), ensure_ascii=False)


_FIELDS = tuple(field.name for field in fields(Document))


def read_corpus(folder: Path, split: str) -> Iterator[Document]:
    """The documents of one split ("train" or "heldout") of the corpus in `folder`, in order.

    Raises CorpusError: at the call when there is no such split, on the way when a shard is damaged.
    """
    if split not in SPLITS:
        raise CorpusError(f"A corpus has no split {split!r}; use {' or '.join(SPLITS)}.")
    paths = sorted((folder / split).glob(_PATTERN))
    if not paths:
        raise CorpusError(
            f"{folder / split} holds no shard-*.jsonl.gz; make a corpus with "
            f"`nemodiff train data --out {folder}`."
        )
    return _documents(paths)


def _documents(paths: list[Path]) -> Iterator[Document]:
    for path in paths:
        number = 0
        try:
            with gzip.open(path, "rt", encoding="utf-8", newline="\n") as lines:
                for line in lines:
                    yield _document(json.loads(line))
                    number += 1
        except (OSError, EOFError, zlib.error, ValueError, KeyError, TypeError) as error:
            raise CorpusError(
                f"{path} is damaged after line {number} ({_reason(error)}); build the corpus anew."
            ) from None


def _document(row: dict[str, object]) -> Document:
    values = [row[name] for name in _FIELDS]
    if not all(isinstance(value, str) for value in values):
        raise TypeError("a field is no text")
    return Document(*map(str, values))


def _reason(error: Exception) -> str:
    return f"no field {error}" if isinstance(error, KeyError) else str(error) or "cut short"


class ShardWriter:
    """Writes documents to `folder`/shard-00000.jsonl.gz and on, each of at most `max_bytes`.

    The bytes depend on the documents alone; without any there is one empty shard. Used as a
    context manager. Raises OSError.
    """

    def __init__(self, folder: Path, max_bytes: int = MAX_SHARD_BYTES) -> None:
        self._folder = folder
        self._full_at_bytes = max_bytes - min(_PENDING_BYTES, max_bytes // 2)
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.glob(_PATTERN):
            old.unlink()
        self._num_shards = 0
        self._file, self._gzip = self._opened()

    def __enter__(self) -> ShardWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def write(self, line: bytes) -> None:
        """Append one document: `Document.to_json` in UTF-8."""
        if self._file.tell() >= self._full_at_bytes:
            self._close()
            self._file, self._gzip = self._opened()
        self._gzip.write(line + b"\n")

    def _opened(self) -> tuple[BinaryIO, gzip.GzipFile]:
        file = (self._folder / f"shard-{self._num_shards:05d}.jsonl.gz").open("wb")
        self._num_shards += 1
        # Name and time would make two equal corpora differ.
        return file, gzip.GzipFile("", "wb", compresslevel=6, fileobj=file, mtime=0)

    def _close(self) -> None:
        self._gzip.close()
        self._file.close()
