"""A balanced choice among the cuts of many files: every language, kind and package gets its share.

Called by `build`; knows nothing of sources. The choice depends on the candidates alone, not on
their order.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

MAX_PER_FILE = 3
# Two cuts of one file closer than this would ask nearly the same.
_MIN_GAP_BYTES = 200


@dataclass(frozen=True, slots=True)
class Candidate:
    """Bytes [start, end) of a file. rank: smaller is taken first. looks: the cut's near text."""

    language: str
    kind: str
    package: str
    file: str
    start: int
    end: int
    statement_end: int
    rank: int
    looks: bytes


class _Taken:
    """What has been chosen, and what may therefore not be any more."""

    def __init__(self) -> None:
        self.per_package: Counter[str] = Counter()
        self._spans: defaultdict[str, list[tuple[int, int]]] = defaultdict(list)
        self._looks: set[bytes] = set()

    def allows(self, candidate: Candidate) -> bool:
        spans = self._spans[candidate.file]
        return (
            len(spans) < MAX_PER_FILE
            and candidate.looks not in self._looks
            and all(
                candidate.start >= end + _MIN_GAP_BYTES or start >= candidate.end + _MIN_GAP_BYTES
                for start, end in spans
            )
        )

    def add(self, candidate: Candidate) -> None:
        self.per_package[candidate.package] += 1
        self._spans[candidate.file].append((candidate.start, candidate.end))
        self._looks.add(candidate.looks)


class _Cell:
    """The candidates of one language and kind, by package."""

    def __init__(self, candidates: Iterable[Candidate]) -> None:
        self._packages: defaultdict[str, list[Candidate]] = defaultdict(list)
        for candidate in candidates:
            self._packages[candidate.package].append(candidate)
        for rows in self._packages.values():
            rows.sort(key=_order, reverse=True)
        self._per_package: Counter[str] = Counter()

    def take(self, taken: _Taken) -> Candidate | None:
        """The next candidate of the package that has had the fewest; None when all are used up."""
        while self._packages:
            package = min(self._packages, key=lambda name: self._turn(name, taken))
            rows = self._packages[package]
            while rows:
                candidate = rows.pop()
                if taken.allows(candidate):
                    self._per_package[package] += 1
                    return candidate
            del self._packages[package]
        return None

    def _turn(self, package: str, taken: _Taken) -> tuple[int, int, int, str]:
        rows = self._packages[package]
        rank = rows[-1].rank if rows else 0
        return self._per_package[package], taken.per_package[package], rank, package


def select(candidates: Iterable[Candidate], num: int) -> list[Candidate]:
    """At most `num` candidates, by language and kind; fewer when there are no more.

    Each language and kind in turn gives one of its least used package until there are enough.
    No two are near each other or look the same, and no file gives more than MAX_PER_FILE.
    """
    by_cell: defaultdict[tuple[str, str], list[Candidate]] = defaultdict(list)
    for candidate in candidates:
        by_cell[candidate.kind, candidate.language].append(candidate)
    cells = {name: _Cell(rows) for name, rows in sorted(by_cell.items())}
    taken = _Taken()
    chosen: list[Candidate] = []
    while cells:
        for name in list(cells):
            if len(chosen) == num:
                return sorted(chosen, key=_order)
            found = cells[name].take(taken)
            if found is None:
                del cells[name]
            else:
                taken.add(found)
                chosen.append(found)
    return sorted(chosen, key=_order)


def _order(candidate: Candidate) -> tuple[str, str, int, str, int]:
    return candidate.language, candidate.kind, candidate.rank, candidate.file, candidate.start
