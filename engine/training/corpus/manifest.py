"""manifest.jsonl: one line for each package that was looked at; report.json: what was counted."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from engine.training.corpus.selection import Counts
from engine.training.corpus.shards import SPLITS, Document, Split


@dataclass(slots=True, kw_only=True)
class ManifestRow:
    """A package and what became of it.

    sha256: of the archive, None when it was not fetched. split: None for a dropped package, whose
    reason says why. held_out_by: "list" or "hash of the name". num_files, num_bytes: in the corpus.
    """

    ecosystem: str
    name: str
    version: str | None = None
    sha256: str | None = None
    licence: str | None = None
    licence_source: str | None = None
    split: Split | None = None
    held_out_by: str | None = None
    reason: str | None = None
    num_files: int = 0
    num_bytes: int = 0


class Tally:
    """Files and bytes by split and language."""

    def __init__(self) -> None:
        self._counts: dict[tuple[Split, str], list[int]] = {}

    def add(self, split: Split, document: Document) -> None:
        counts = self._counts.setdefault((split, document.language), [0, 0])
        counts[0] += 1
        counts[1] += len(document.text.encode("utf-8"))

    def to_json(self) -> dict[str, dict[str, dict[str, int]]]:
        return {
            split: {
                language: {"num_files": files, "num_bytes": num_bytes}
                for (of_split, language), (files, num_bytes) in sorted(self._counts.items())
                if of_split == split
            }
            for split in SPLITS
        }


def report_json(
    rows: Sequence[ManifestRow], tally: Tally, counts: Counts, notes: Sequence[str]
) -> dict[str, Any]:
    """What report.json holds but for the settings and the benchmarks."""
    reasons = Counter(row.reason for row in rows if row.reason is not None)
    licences = Counter(str(row.licence) for row in rows if row.split is not None)
    dropped = counts.dropped
    return {
        "documents": tally.to_json(),
        "packages": {
            "looked_at": len(rows),
            **{split: sum(row.split == split for row in rows) for split in SPLITS},
            "dropped": dict(reasons.most_common()),
            "licences": dict(licences.most_common()),
        },
        "files_dropped": dict(dropped.most_common()),
        "duplicates": {
            "exact": dropped["exact duplicate"],
            "near": dropped["near duplicate"],
        },
        "contaminated_files": counts.contaminated,
        "notes": list(notes),
    }


def write_manifest(path: Path, rows: Sequence[ManifestRow]) -> None:
    """Raises OSError."""
    lines = (json.dumps(asdict(row), ensure_ascii=False) + "\n" for row in rows)
    write_whole(path, "".join(lines))


def write_whole(path: Path, text: str) -> None:
    """Write a file so that it is there whole or not at all. Raises OSError."""
    partial = path.with_name(f"{path.name}.partial")
    partial.write_text(text, encoding="utf-8")
    os.replace(partial, path)
