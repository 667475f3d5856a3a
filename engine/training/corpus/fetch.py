"""Fetches packages from their registries, a few ahead of whoever reads them, in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol

from engine.training.corpus.packages import Package
from engine.training.corpus.registry import LocalArchive


class Registry(Protocol):
    """Where the packages of one ecosystem come from."""

    def fetch(self, name: str, pin: str | None) -> tuple[str, LocalArchive]:
        """(version, archive). Raises PackageError, RegistryUnreachable."""


Fetched = Callable[[], tuple[str, LocalArchive]]
"""Gives (version, archive), or raises what `Registry.fetch` raised."""


def fetch_ahead(
    packages: Sequence[Package], registry: Registry, num_downloads: int
) -> Generator[tuple[Package, Fetched]]:
    """The packages in order, each with what its registry gave; `num_downloads` at a time.

    Closing the iterator drops the downloads that have not begun.
    """
    pool = ThreadPoolExecutor(num_downloads, thread_name_prefix="fetch")
    waiting: deque[tuple[Package, Future[tuple[str, LocalArchive]]]] = deque()
    upcoming = iter(packages)
    try:
        while True:
            while len(waiting) < 2 * num_downloads:
                package = next(upcoming, None)
                if package is None:
                    break
                waiting.append((package, pool.submit(registry.fetch, package.name, package.pin)))
            if not waiting:
                return
            package, future = waiting.popleft()
            yield package, future.result
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
