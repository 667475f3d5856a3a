"""LoadProgress: the loading of the model as work-done progress of the protocol.

Subscribed to the engine link by `__main__.py`. The client is asked for a token outside of any
request: pygls cannot bear that the one who waits for the client's reply is cancelled.
"""

from __future__ import annotations

import logging
import uuid
from concurrent.futures import Future
from typing import Any

from lsprotocol import types
from pygls.lsp.server import LanguageServer

from nemodiff_lsp.link.engine_state import EngineState

logger = logging.getLogger(__name__)

_TITLE = "NemoDiff"


class LoadProgress:
    """Shows one progress at a time, from the start of an engine until it is ready or given up."""

    def __init__(self, server: LanguageServer) -> None:
        self._server = server
        self._state: EngineState | None = None
        self._token: str | None = None
        self._has_begun = False
        self._last: tuple[str, int | None] | None = None

    def on_state(self, state: EngineState) -> None:
        """Take note of a change; call it on the event loop's thread."""
        self._state = state
        if not state.is_loading:
            self._end()
        elif self._token is None:
            self._create()
        elif self._has_begun:
            self._report(state)

    def _create(self) -> None:
        window = self._server.client_capabilities.window
        if window is None or not window.work_done_progress:
            return
        token = self._token = uuid.uuid4().hex
        answer = self._server.protocol.send_request(
            types.WINDOW_WORK_DONE_PROGRESS_CREATE, types.WorkDoneProgressCreateParams(token)
        )
        answer.add_done_callback(lambda future: self._on_created(token, future))

    def _on_created(self, token: str, answer: Future[Any]) -> None:
        state = self._state
        if token != self._token or state is None or not state.is_loading:
            # The load was quicker than the client.
            return
        if answer.cancelled() or answer.exception() is not None:
            logger.info("The client wants no progress.")
            return
        self._has_begun = True
        self._last = _shown(state)
        self._server.work_done_progress.begin(
            token,
            types.WorkDoneProgressBegin(
                title=_TITLE, message=state.phase, percentage=_per_cent(state), cancellable=False
            ),
        )

    def _report(self, state: EngineState) -> None:
        if _shown(state) == self._last or self._token is None:
            return
        self._last = _shown(state)
        report = types.WorkDoneProgressReport(message=state.phase, percentage=_per_cent(state))
        self._server.work_done_progress.report(self._token, report)

    def _end(self) -> None:
        token, self._token = self._token, None
        has_begun, self._has_begun = self._has_begun, False
        if token is not None and has_begun and self._state is not None:
            end = types.WorkDoneProgressEnd(message=self._state.message)
            self._server.work_done_progress.end(token, end)
            self._server.work_done_progress.tokens.pop(token, None)


def _shown(state: EngineState) -> tuple[str, int | None]:
    return state.phase, _per_cent(state)


def _per_cent(state: EngineState) -> int | None:
    # A client that has not been given one at the beginning shows no bar, so it gets 0 at least.
    return round(100 * min(1.0, max(0.0, state.fraction or 0.0)))
