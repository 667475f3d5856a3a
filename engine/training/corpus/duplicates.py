"""Exact and near duplicates among all files of a corpus, in the order in which they come."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

MAX_SEEN_SHARE = 0.7
MIN_LONG_LINE_CHARS = 30
# Below this a file has too few long lines for a share of them to mean anything.
MIN_LONG_LINES = 6

_NOTE_STARTS = ("#", "//", "/*", "*", "--")


class Duplicates:
    """Remembers files by hashes: about 100 bytes for each long line of the corpus.

    A file is a near duplicate when more than MAX_SEEN_SHARE of its distinct long lines, comments
    left out (licence headers are everywhere), stood in files that were kept before.
    """

    def __init__(self) -> None:
        self._texts: set[bytes] = set()
        self._lines: set[int] = set()

    def refusal(self, text: str) -> str | None:
        """Why `text` is dropped; when it is kept (None), it counts from now on."""
        digest = hashlib.sha256("".join(text.split()).encode("utf-8")).digest()
        if digest in self._texts:
            return "exact duplicate"
        lines = _hashes(_long_lines(text))
        num_seen = len(lines & self._lines)
        if len(lines) >= MIN_LONG_LINES and num_seen > MAX_SEEN_SHARE * len(lines):
            return "near duplicate"
        self._texts.add(digest)
        self._lines |= lines
        return None


def _long_lines(text: str) -> Iterable[str]:
    for line in text.split("\n"):
        stripped = line.strip()
        if len(stripped) >= MIN_LONG_LINE_CHARS and not stripped.startswith(_NOTE_STARTS):
            yield stripped


def _hashes(lines: Iterable[str]) -> set[int]:
    # Not hash(): it differs from process to process, and a corpus must not.
    return {
        int.from_bytes(hashlib.blake2b(line.encode("utf-8"), digest_size=8).digest(), "little")
        for line in lines
    }
