"""What a corpus is built from and how large each part of it gets."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.training.corpus.decontaminate import BenchmarkTask
from engine.training.corpus.errors import CorpusError
from engine.training.corpus.packages import Package
from engine.training.corpus.shards import MAX_SHARD_BYTES

FORM_VERSION = 1
"""Raised when the same options and archives give another corpus than before."""

REPORT_FILE = "report.json"
UNFINISHED_FOLDER = ".unfinished"

# Of the training text, for each group of languages that come from the same packages.
_SHARES = {
    ("python",): 0.7,
    ("typescript", "javascript"): 0.15,
    ("rust",): 0.075,
    ("go",): 0.075,
}
# The most held-out text, beside and not out of the training text.
_HELD_OUT_SHARE = 0.1
# No package may make up more than this of its group, or the corpus would be a few big packages.
_TRAIN_PACKAGE_SHARE = 0.05
_HELD_OUT_PACKAGE_SHARE = 0.2
_MIN_PACKAGE_BYTES = 2**18


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildOptions:
    """num_bytes: of training text. always_held_out: families that are never trained on."""

    out: Path
    num_bytes: int
    languages: tuple[str, ...]
    packages: tuple[Package, ...]
    always_held_out: frozenset[str]
    benchmarks: tuple[BenchmarkTask, ...]
    num_downloads: int = 4
    max_shard_bytes: int = MAX_SHARD_BYTES

    def settings(self) -> dict[str, Any]:
        """What the corpus depends on, as report.json keeps it."""
        names = [(package.key, package.pin) for package in self.packages]
        texts = [(task.benchmark, task.text) for task in self.benchmarks]
        return {
            "form": FORM_VERSION,
            "num_bytes": self.num_bytes,
            "languages": list(self.languages),
            "packages_sha256": _sha256([names, sorted(self.always_held_out)]),
            "benchmarks_sha256": _sha256(texts),
        }


@dataclass(frozen=True, slots=True)
class GroupPlan:
    """Languages that come from the same packages, and how much text of them is wanted."""

    languages: tuple[str, ...]
    packages: tuple[Package, ...]
    num_bytes: int

    def split_bytes(self, *, held_out: bool) -> int:
        """The most text of a split."""
        if not held_out:
            return self.num_bytes
        return max(_MIN_PACKAGE_BYTES, round(_HELD_OUT_SHARE * self.num_bytes))

    def package_bytes(self, *, held_out: bool) -> int:
        """The most text of one package."""
        share = _HELD_OUT_PACKAGE_SHARE if held_out else _TRAIN_PACKAGE_SHARE
        return max(_MIN_PACKAGE_BYTES, round(share * self.split_bytes(held_out=held_out)))


def group_plans(options: BuildOptions) -> list[GroupPlan]:
    """The groups of the chosen languages; their shares are scaled to make up the whole."""
    chosen = {
        group: share for group, share in _SHARES.items() if set(group) & set(options.languages)
    }
    return [
        GroupPlan(
            tuple(language for language in group if language in options.languages),
            tuple(package for package in options.packages if package.languages == group),
            round(options.num_bytes * share / sum(chosen.values())),
        )
        for group, share in chosen.items()
    ]


def finished_report(options: BuildOptions) -> dict[str, Any] | None:
    """The report of the corpus that `options.out` holds already, None when there is none.

    Raises CorpusError when the folder holds a corpus of other options, or anything else.
    """
    folder = options.out
    if folder.exists() and not folder.is_dir():
        raise CorpusError(f"--out {folder} is a file; name a folder.")
    path = folder / REPORT_FILE
    if path.is_file():
        return _report_of(path, options)
    is_empty = not folder.is_dir() or not any(folder.iterdir())
    if not is_empty and not (folder / UNFINISHED_FOLDER).is_dir():
        raise CorpusError(f"--out {folder} holds something else; name a new folder.")
    return None


def _report_of(path: Path, options: BuildOptions) -> dict[str, Any]:
    try:
        report: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        settings = report["settings"]
    except (OSError, ValueError, KeyError, TypeError):
        raise CorpusError(f"{path} is damaged; delete its folder and build anew.") from None
    if settings != options.settings():
        raise CorpusError(
            f"--out {path.parent} holds a corpus of other options; name another folder, or delete "
            "that one."
        )
    return report


def _sha256(value: object) -> str:
    return hashlib.sha256(json.dumps(value).encode("utf-8")).hexdigest()
