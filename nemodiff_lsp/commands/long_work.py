"""LongWork: a command that takes a while, with progress in the editor and a way to stop it.

Used by the commands that ask the engine for edits. The client's answers are never awaited: pygls
2.1 fails on an answer to a request whose task was cancelled.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

from lsprotocol import types
from pygls.protocol import LanguageServerProtocol

logger = logging.getLogger(__name__)

T = TypeVar("T")

_numbers = itertools.count(1)


class StoppedError(Exception):
    """The user stopped the work."""


async def run_with_progress(
    protocol: LanguageServerProtocol,
    title: str,
    work: Coroutine[Any, Any, T],
    token: types.ProgressToken | None = None,
) -> T:
    """The result of `work`, shown as `title` while it runs, if the client shows progress.

    token: the client's own, sent with its request. Raises StoppedError when the user stops it in
    the editor. When the caller is cancelled, so is `work`.
    """
    task = asyncio.ensure_future(work)
    progress = _Progress(protocol, title, task, token)
    try:
        # wait() tells our own cancellation (it raises) from that of the task (it returns).
        await asyncio.wait({task})
    finally:
        task.cancel()
        progress.end()
    if task.cancelled():
        raise StoppedError
    return task.result()


class _Progress:
    """One progress bar: begun as soon as the client has agreed to it, ended exactly once."""

    def __init__(
        self,
        protocol: LanguageServerProtocol,
        title: str,
        task: asyncio.Future[Any],
        token: types.ProgressToken | None,
    ) -> None:
        self._protocol = protocol
        self._title = title
        self._task = task
        self._has_begun = False
        self._has_ended = False
        window = protocol.client_capabilities.window
        self._token: types.ProgressToken = f"nemodiff-{next(_numbers)}" if token is None else token
        if token is not None:
            self._begin()
        elif window is not None and window.work_done_progress:
            created = protocol.send_request(
                types.WINDOW_WORK_DONE_PROGRESS_CREATE,
                types.WorkDoneProgressCreateParams(token=self._token),
            )
            created.add_done_callback(self._on_created)

    def end(self) -> None:
        self._has_ended = True
        self._protocol.progress.tokens.pop(self._token, None)
        if self._has_begun:
            self._protocol.progress.end(self._token, types.WorkDoneProgressEnd())

    def _on_created(self, created: Future[Any]) -> None:
        # A client that refuses gets no progress, which is no reason to stop the work.
        if not created.cancelled() and created.exception() is None and not self._has_ended:
            self._begin()

    def _begin(self) -> None:
        self._has_begun = True
        stop: Future[None] = Future()
        stop.add_done_callback(self._on_stop)
        # pygls cancels this future when the client says window/workDoneProgress/cancel.
        self._protocol.progress.tokens[self._token] = stop
        begin = types.WorkDoneProgressBegin(title=self._title, cancellable=True)
        self._protocol.progress.begin(self._token, begin)

    def _on_stop(self, stop: Future[None]) -> None:
        if stop.cancelled():
            self._task.cancel()
