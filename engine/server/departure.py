"""Departure: when an engine leaves by itself, and how it does so without losing a request.

Asked by `serve.py` ten times a second. Leaving means the end of the process: only that gives back
the weights and what the GPU's driver holds for them.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Protocol

from engine.server.engine_thread import EngineStatus

logger = logging.getLogger(__name__)

# Longer than a connection without a request is kept open for the next one (uvicorn: 5 s).
_LAST_CONNECTIONS_S = 6.0


class Worker(Protocol):
    """What is asked of the engine thread."""

    @property
    def status(self) -> EngineStatus:
        """Loading, ready, draining and so on."""

    @property
    def idle_since_s(self) -> float | None:
        """`time.monotonic` since when nothing is queued or running; None while something is."""


class Departure:
    """Decides that the engine has been idle for too long or has drained.

    idle_exit_s: how long is too long; None for never. withdraw() takes away the address, so that
    from then on clients start another engine; num_connections() counts those still open.

    Who had connected before the address went is served first: hence two steps, with a turn of the
    event loop between them at least.
    """

    def __init__(
        self,
        worker: Worker,
        *,
        idle_exit_s: float | None,
        withdraw: Callable[[], None],
        num_connections: Callable[[], int],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._worker = worker
        self._idle_exit_s = idle_exit_s
        self._withdraw = withdraw
        self._num_connections = num_connections
        self._clock = clock
        self._ready_since_s: float | None = None
        self._leaving_since_s: float | None = None

    def is_due(self) -> bool:
        """Whether the process should end now; call it regularly, on the event loop."""
        now_s = self._clock()
        if self._leaving_since_s is None:
            if self._has_reason(now_s):
                self._leaving_since_s = now_s
                self._withdraw()
            return False
        if self._worker.idle_since_s is None and self._worker.status.state != "loading":
            return False
        has_waited = now_s - self._leaving_since_s > _LAST_CONNECTIONS_S
        return has_waited or self._num_connections() == 0

    def _has_reason(self, now_s: float) -> bool:
        state, idle_since_s = self._worker.status.state, self._worker.idle_since_s
        if state == "draining" and idle_since_s is not None:
            logger.info("Leaving: all work is done, and another engine is to take over.")
            return True
        if state != "ready":
            # However long a load takes, nobody could have used the engine yet.
            self._ready_since_s = None
            return False
        if self._ready_since_s is None:
            self._ready_since_s = now_s
        if self._idle_exit_s is None or idle_since_s is None:
            return False
        idle_s = now_s - max(idle_since_s, self._ready_since_s)
        if idle_s < self._idle_exit_s:
            return False
        logger.info("Leaving after %.1f idle minutes; the next request starts anew.", idle_s / 60)
        return True
