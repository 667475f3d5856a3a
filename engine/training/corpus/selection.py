"""Decides for each file of a package whether it becomes a document, and counts why not."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass, field

from engine.training.corpus.decontaminate import Decontaminator
from engine.training.corpus.duplicates import Duplicates
from engine.training.corpus.filters import MAX_FILE_BYTES, content_refusal, decoded, language_of
from engine.training.corpus.packages import Package
from engine.training.corpus.shards import Document


@dataclass(slots=True)
class Counts:
    """What report.json says of files. contaminated: one entry for each file, with its task."""

    dropped: Counter[str] = field(default_factory=Counter)
    contaminated: list[dict[str, str]] = field(default_factory=list)


class Selection:
    """The filters in their order; remembers what was kept before, for duplicates.

    Over all splits, so that no file of the one comes again, nearly the same, in the other.
    """

    def __init__(self, decontaminator: Decontaminator) -> None:
        self.counts = Counts()
        self._decontaminator = decontaminator
        self._duplicates = Duplicates()

    def documents(
        self, package: Package, version: str, files: dict[str, bytes], max_bytes: int
    ) -> list[Document]:
        """Those of `files` (path -> content) that are kept, of at most `max_bytes` together.

        Where there are more, hashes of the paths choose.
        """
        kept: list[Document] = []
        num_bytes = 0
        for path in sorted(files, key=lambda path: _choice(package, path)):
            size = len(files[path])
            if num_bytes + size > max_bytes and size <= MAX_FILE_BYTES:
                self.counts.dropped["package's share is full"] += 1
                continue
            document, refusal = self._judge(package, version, path, files[path])
            if document is None:
                self.counts.dropped[refusal] += 1
                continue
            kept.append(document)
            num_bytes += len(document.text.encode("utf-8"))
        return kept

    def _judge(
        self, package: Package, version: str, path: str, content: bytes
    ) -> tuple[Document | None, str]:
        language = language_of(path)
        assert language is not None
        text = decoded(content) if len(content) <= MAX_FILE_BYTES else ""
        if text is None:
            return None, "not UTF-8"
        refusal = content_refusal(text, language) if text else "too large"
        if refusal is not None:
            return None, refusal
        task = self._decontaminator.match(text)
        if task is not None:
            self.counts.contaminated.append({"package": package.key, "path": path, "task": task})
            return None, "contaminated"
        refusal = self._duplicates.refusal(text)
        if refusal is not None:
            return None, refusal
        document = Document(package.ecosystem, package.name, version, path, language, text)
        return document, ""


def _choice(package: Package, path: str) -> bytes:
    return hashlib.sha256(f"{package.key}:{path}".encode()).digest()
