"""The documents of one split on their way: kept in a file as they come, then shuffled to shards."""

from __future__ import annotations

import hashlib
from pathlib import Path
from types import TracebackType

from engine.training.corpus.shards import MAX_SHARD_BYTES, Document, ShardWriter


class Spool:
    """Holds about 100 bytes of memory for each document. Used as a context manager."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("w+b")
        self._index: list[tuple[bytes, int, int]] = []

    def __enter__(self) -> Spool:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._file.close()

    def add(self, document: Document) -> None:
        line = document.to_json().encode("utf-8")
        # The order depends on names alone, so a new version of a file stays in its place.
        name = f"{document.ecosystem}:{document.package}:{document.path}"
        key = hashlib.sha256(name.encode("utf-8")).digest()[:16]
        self._index.append((key, self._file.tell(), len(line)))
        self._file.write(line)

    def write_shards(self, folder: Path, max_bytes: int = MAX_SHARD_BYTES) -> None:
        """Write all documents to `folder`, in an order that any start of is a fair sample of."""
        with ShardWriter(folder, max_bytes) as shards:
            for _, start, num_bytes in sorted(self._index):
                self._file.seek(start)
                shards.write(self._file.read(num_bytes))
        self._file.seek(0, 2)
