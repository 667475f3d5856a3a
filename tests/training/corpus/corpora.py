"""What the tests of `nemodiff train data` share: packages to offer, the corpus to look into."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from engine.training.corpus.packages import Package, is_held_out_by_hash
from engine.training.corpus.shards import Document, read_corpus

from .builders import module, sdist
from .fake_registry import FakeRegistry, File

Train = Callable[..., int]
"""Runs the command: Train(*arguments, packages=[...], out="corpus", size="1")."""


def _names(*, held_out: bool, number: int) -> list[str]:
    """Package names that the hash puts into the one or the other split."""
    candidates = (f"pack{count}" for count in range(10_000))
    wanted = (name for name in candidates if is_held_out_by_hash(Package("pypi", name)) == held_out)
    return [next(wanted) for _ in range(number)]


TRAIN_NAMES = _names(held_out=False, number=6)
HELD_OUT_NAMES = _names(held_out=True, number=2)


def offer(registry: FakeRegistry, name: str, licence: str | None = None, **files: str) -> None:
    """Put a source distribution into the registry; files: module name -> text."""
    content = {f"{name}/{stem}.py": text for stem, text in files.items()}
    archive = sdist(name, content, **({} if licence is None else {"licence": licence}))
    registry.python[name] = [File(f"{name}-1.0.tar.gz", archive)]


def offer_all(registry: FakeRegistry) -> list[str]:
    names = [*TRAIN_NAMES, *HELD_OUT_NAMES]
    for name in names:
        offer(registry, name, one=module(f"{name}.one"), two=module(f"{name}.two"))
    return names


def read_documents(folder: Path, split: str = "train") -> dict[str, Document]:
    return {
        f"{document.package}:{document.path}": document for document in read_corpus(folder, split)
    }


def read_manifest(folder: Path) -> dict[str, dict[str, Any]]:
    lines = (folder / "manifest.jsonl").read_text().splitlines()
    return {row["name"]: row for row in map(json.loads, lines)}


def read_report(folder: Path) -> dict[str, Any]:
    report: dict[str, Any] = json.loads((folder / "report.json").read_text())
    return report
