"""Builds a corpus: packages are fetched, read, filtered, split and written in shards.

Called by `engine.cli.train_data`. The result depends on the options, the packages' archives and
the benchmarks alone; an interrupted run is simply started again and finds its downloads.
"""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from typing import Any

from engine.training.corpus.archives import ArchiveError
from engine.training.corpus.decontaminate import NUM_WINDOW_TOKENS, Decontaminator
from engine.training.corpus.errors import CorpusError
from engine.training.corpus.fetch import Fetched, Registry, fetch_ahead
from engine.training.corpus.manifest import (
    ManifestRow,
    Tally,
    report_json,
    write_manifest,
    write_whole,
)
from engine.training.corpus.options import (
    REPORT_FILE,
    UNFINISHED_FOLDER,
    BuildOptions,
    GroupPlan,
    group_plans,
)
from engine.training.corpus.package_source import PackageSource, read_source
from engine.training.corpus.packages import Package, is_held_out_by_hash
from engine.training.corpus.registry import PackageError, RegistryUnreachable
from engine.training.corpus.selection import Selection
from engine.training.corpus.shards import Split
from engine.training.corpus.spool import Spool

# A split counts as full when less is missing: hardly a file would fit into the rest.
_MAX_MISSING_SHARE = 0.01
# So many in a row are no accident.
_MAX_UNREACHABLE = 3

Progress = Callable[[str, int, int], None]
"""Called with what is being read in words, and how many bytes of how many there are."""


def build(
    options: BuildOptions,
    registries: Mapping[str, Registry],
    notes: Sequence[str],
    progress: Progress,
) -> dict[str, Any]:
    """Build the corpus in `options.out` and return its report.

    registries: by ecosystem; packages of an ecosystem without one are passed over, and the caller
    says so in `notes`. Raises CorpusError when a registry cannot be reached, OSError.
    """
    unfinished = options.out / UNFINISHED_FOLDER
    unfinished.mkdir(parents=True, exist_ok=True)
    decontaminator = Decontaminator(options.benchmarks)
    with Spool(unfinished / "train") as train, Spool(unfinished / "heldout") as heldout:
        spools: dict[Split, Spool] = {"train": train, "heldout": heldout}
        builder = _Builder(options, registries, Selection(decontaminator), spools, progress)
        notes = [*notes, *filter(None, map(builder.read_group, group_plans(options)))]
        if not any(row.split == "train" for row in builder.rows):
            raise CorpusError(
                "No package could be used for training; name others with --packages, or other "
                f"languages. {builder.first_reason()}".rstrip()
            )
        for split, spool in spools.items():
            spool.write_shards(options.out / split, options.max_shard_bytes)
    report = {
        "settings": options.settings(),
        "benchmarks": {
            "num_window_tokens": NUM_WINDOW_TOKENS,
            "num_windows": decontaminator.num_windows,
            "num_tasks": dict(Counter(task.benchmark for task in options.benchmarks)),
        },
        **report_json(builder.rows, builder.tally, builder.selection.counts, notes),
    }
    write_manifest(options.out / "manifest.jsonl", builder.rows)
    # Last: its presence says that the corpus is whole.
    write_whole(options.out / REPORT_FILE, json.dumps(report, indent=2, ensure_ascii=False) + "\n")
    shutil.rmtree(unfinished)
    return report


class _Builder:
    """The state of one build. rows: one for each package so far."""

    def __init__(
        self,
        options: BuildOptions,
        registries: Mapping[str, Registry],
        selection: Selection,
        spools: Mapping[Split, Spool],
        progress: Progress,
    ) -> None:
        self.selection = selection
        self.rows: list[ManifestRow] = []
        self.tally = Tally()
        self._options = options
        self._registries = registries
        self._spools = spools
        self._progress = progress

    def read_group(self, plan: GroupPlan) -> str | None:
        """Read packages until the plan's training text is complete.

        Returns a note for the report when not one of them could be used.
        """
        languages = " and ".join(plan.languages)
        registry = self._registries.get(plan.packages[0].ecosystem) if plan.packages else None
        if registry is None:
            return None
        first = len(self.rows)
        left = {"train": plan.num_bytes, "heldout": plan.split_bytes(held_out=True)}
        num_unreachable = 0
        fetching = fetch_ahead(plan.packages, registry, self._options.num_downloads)
        with closing(fetching):
            for package, fetched in fetching:
                row = self._new_row(package)
                self._read_package(row, package, fetched, plan, left)
                is_unreachable = (row.reason or "").startswith(_UNREACHABLE)
                num_unreachable = num_unreachable + 1 if is_unreachable else 0
                if num_unreachable == min(_MAX_UNREACHABLE, len(plan.packages)):
                    raise CorpusError(_unreachable_sentence(str(row.reason)))
                done = plan.num_bytes - left["train"]
                self._progress(languages, done, plan.num_bytes)
                if left["train"] < _MAX_MISSING_SHARE * plan.num_bytes:
                    break
        rows = self.rows[first:]
        if any(row.split is not None for row in rows):
            return None
        return f"{languages}: none of {len(rows)} packages could be used ({rows[0].reason})."

    def first_reason(self) -> str:
        """One example of why packages were dropped, as a sentence."""
        reasons = (f"{row.name}: {row.reason}." for row in self.rows if row.reason)
        return next(reasons, "")

    def _new_row(self, package: Package) -> ManifestRow:
        row = ManifestRow(ecosystem=package.ecosystem, name=package.name)
        if package.family in self._options.always_held_out:
            row.held_out_by = "list"
        elif is_held_out_by_hash(package):
            row.held_out_by = "hash of the name"
        self.rows.append(row)
        return row

    def _read_package(
        self,
        row: ManifestRow,
        package: Package,
        fetched: Fetched,
        plan: GroupPlan,
        left: dict[str, int],
    ) -> None:
        """Take what is wanted of one package; `row` and `left` (bytes by split) keep count."""
        split: Split = "train" if row.held_out_by is None else "heldout"
        max_bytes = min(left[split], plan.package_bytes(held_out=split == "heldout"))
        if max_bytes < _MAX_MISSING_SHARE * plan.split_bytes(held_out=split == "heldout"):
            row.reason = "the held-out split is full"
            return
        source = _fetched_source(row, package, fetched, plan.languages)
        if source is None:
            return
        self.selection.counts.dropped.update(source.dropped)
        documents = self.selection.documents(package, str(row.version), source.files, max_bytes)
        if not documents:
            row.reason = "no usable files"
            return
        row.split = split
        for document in documents:
            self._spools[split].add(document)
            self.tally.add(split, document)
            row.num_files += 1
            row.num_bytes += len(document.text.encode("utf-8"))
        left[split] -= row.num_bytes


def _fetched_source(
    row: ManifestRow, package: Package, fetched: Fetched, languages: tuple[str, ...]
) -> PackageSource | None:
    """What is in the package, noted in `row`; None, with the reason there, if it is not used."""
    try:
        row.version, archive = fetched()
        row.sha256 = archive.sha256
        source = read_source(package, archive.path, languages)
    except RegistryUnreachable as error:
        row.reason = f"{_UNREACHABLE}{error}"
        return None
    except (PackageError, ArchiveError) as error:
        row.reason = str(error)
        return None
    row.licence, row.licence_source = source.licence.expression, source.licence.source
    row.reason = source.licence.refusal
    return source if source.licence.is_permissive else None


_UNREACHABLE = "registry unreachable: "


def _unreachable_sentence(reason: str) -> str:
    return (
        f"The package registry cannot be reached ({reason.removeprefix(_UNREACHABLE)}); check the "
        "network and run the same command again, it keeps what was downloaded."
    )
