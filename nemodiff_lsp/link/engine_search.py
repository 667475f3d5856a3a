"""EngineSearch: from nothing to a ready engine, by joining, waiting, starting or leaving alone.

Owned by `engine_link.py`, one per engine address. Counts failures, so that an engine which keeps
failing is not started over and over.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from engine.messages.address import PROTOCOL_VERSION
from engine.messages.errors import EngineUnavailable, NoEngineError, OtherVersionError
from nemodiff_lsp.link.backoff import Backoff
from nemodiff_lsp.link.engine_options import EngineOptions
from nemodiff_lsp.link.engine_state import EngineState
from nemodiff_lsp.problems import Problems, last_words

if TYPE_CHECKING:
    from engine.messages.client import AsyncEngineClient

logger = logging.getLogger(__name__)

_POLL_S = 0.25

_KILLED = "it was killed or crashed"

# An engine that is lost again and again is shown, not only logged: it will not get better.
_NUM_CRASHES_TO_SHOW = 3


class PausingError(Exception):
    """The engine failed a moment ago; the message says when it is started again."""


class EngineSearch:
    """set_state is told each step; `problems` each crash. Used from the event loop only."""

    def __init__(
        self, options: EngineOptions, problems: Problems, set_state: Callable[[EngineState], None]
    ) -> None:
        self.backoff = Backoff()
        self._options = options
        self._problems = problems
        self._set_state = set_state
        self._failure = ""
        self._pid: int | None = None

    def note_failure(self, problem: str) -> None:
        """The search ended with `problem`; the next one starts no engine for a while."""
        self.backoff.note_start_failed()
        self._failure = problem

    async def ready(self, client: AsyncEngineClient, *, was_ready: bool) -> dict[str, Any]:
        """The health of an engine that is ready, once there is one.

        was_ready: an engine was there before, and is missed. Raises EngineUnavailable or
        PausingError.
        """
        health = await self._health_of_running(client, was_ready=was_ready)
        if health is None:
            await self._launch()
            health = await self._health_of_launched(client)
        while health.get("state") == "loading":
            self._set_state(_loading_state(health))
            await asyncio.sleep(_POLL_S)
            health = await self._health_of_launched(client)
        if health.get("state") == "failed":
            raise EngineUnavailable(str(health.get("failure")))
        if health.get("state") != "ready":
            raise EngineUnavailable("The engine was stopped before it was ready.")
        self.backoff.note_ready()
        return health

    async def _health_of_running(
        self, client: AsyncEngineClient, *, was_ready: bool
    ) -> dict[str, Any] | None:
        """Health of an engine that can be joined; None when one must, and may, be started.

        Raises EngineUnavailable.
        """
        try:
            health = await client.health()
        except NoEngineError:
            if not self._options.may_start:
                raise
            if was_ready:
                self._note_departure()
            return None
        except OtherVersionError as error:
            # The newer one wins, or two versions would take turns in ending each other's engine.
            if error.protocol > PROTOCOL_VERSION or not self._options.may_start:
                raise
            return None
        is_leaving = health.get("state") in ("stopping", "draining")
        return None if is_leaving and self._options.may_start else health

    def _note_departure(self) -> None:
        """An engine that was ready is gone: left on its own, or crashed?"""
        path = self._options.address.path
        # One that leaves by itself takes its socket or endpoint file along.
        if path is None or not path.exists():
            return
        self.backoff.note_crash()
        self._failure = f"The engine has ended: {_KILLED} (its log is {path.with_suffix('.log')})"
        self._problems.report(self._failure)
        self._set_state(EngineState("lost", f"The engine has ended: {_KILLED}."))
        if self.backoff.num_failures >= _NUM_CRASHES_TO_SHOW:
            self._problems.report_lasting(self._failure)

    async def _launch(self) -> None:
        """Start an engine. Raises PausingError soon after failures."""
        pause_s = self.backoff.pause_s
        if pause_s > 0:
            raise PausingError(
                f"NemoDiff starts its engine again in {math.ceil(pause_s)} s: {self._failure}"
            )
        # Most servers find a running engine and never need what starts one.
        from engine.messages.launch import ensure_engine_async

        self._set_state(EngineState("starting", "The engine is being started.", "starting"))
        self._pid = await ensure_engine_async(
            self._options.address, arguments=self._options.arguments
        )

    async def _health_of_launched(self, client: AsyncEngineClient) -> dict[str, Any]:
        """Health of an engine that listened a moment ago; when it is gone, its log says why."""
        try:
            health = await client.health()
        except NoEngineError:
            if self._options.address.path is None:
                raise
            from engine.messages.launch import default_log_path

            log_path = default_log_path(self._options.address)
            why = await last_words(log_path, self._pid) or _KILLED
            raise EngineUnavailable(
                f"The engine has ended: {why} (its log is {log_path})"
            ) from None
        self._pid = int(health["pid"])
        return health


def _loading_state(health: dict[str, Any]) -> EngineState:
    phase, fraction = str(health.get("phase") or "loading"), health.get("fraction")
    per_cent = f", {fraction:.0%}" if isinstance(fraction, (int, float)) else ""
    message = f"The engine is still loading its model ({phase}{per_cent})."
    return EngineState("loading", message, phase, fraction if per_cent else None)
