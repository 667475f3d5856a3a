"""Sessions: per document, the newest request wins and an older one in flight is cancelled.

Owned by `server.py`. It must be the server that does so: Neovim, for one, neither cancels the
older request nor drops its late answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class SupersededError(Exception):
    """A newer request, an edit or the closing of the document made this one pointless."""


class Sessions:
    """The request in flight of each document. Used from the event loop's thread only."""

    def __init__(self) -> None:
        self._running: dict[str, asyncio.Task[Any]] = {}

    async def run_newest(self, uri: str, work: Coroutine[Any, Any, T]) -> T:
        """The result of `work`, which first cancels what runs for `uri`.

        Raises SupersededError when `supersede` or a later call for the same document cancels it.
        When the caller is cancelled, so is `work`.
        """
        self.supersede(uri)
        task = asyncio.ensure_future(work)
        self._running[uri] = task
        try:
            # wait() tells our own cancellation (it raises) from that of the task (it returns).
            await asyncio.wait({task})
        finally:
            task.cancel()
            if self._running.get(uri) is task:
                del self._running[uri]
        if task.cancelled():
            raise SupersededError
        return task.result()

    def supersede(self, uri: str) -> None:
        """Cancel what runs for `uri`, if anything does."""
        task = self._running.pop(uri, None)
        if task is not None:
            task.cancel()

    def supersede_all(self) -> None:
        """Cancel whatever runs."""
        for uri in list(self._running):
            self.supersede(uri)
