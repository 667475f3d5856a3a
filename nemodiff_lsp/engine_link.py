"""EngineLink: the language server's way to the resident engine, which it joins or starts.

Owned by `server.py`. Problems with the engine become one message to the user, not one per
keystroke, and no answer (None).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from lsprotocol import types

from engine.messages.address import EngineAddress
from engine.messages.client import (
    AsyncEngineClient,
    EngineRefused,
    EngineUnavailable,
    NoEngineError,
)
from engine.messages.completion import Completion, CompletionRequest

logger = logging.getLogger(__name__)

Tell = Callable[[types.MessageType, str], None]

_RETRY_S = 30.0
"""An engine that could not be started is started again by the first request after this time."""

_POLL_S = 0.25


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """Where the engine listens, the arguments for one that we start, and whether we may."""

    address: EngineAddress
    arguments: Sequence[str] = ()
    may_start: bool = True


class EngineLink:
    """Joins a running engine or starts one in the background; used from the event loop only."""

    def __init__(self, options: EngineOptions, tell: Tell) -> None:
        self._options = options
        self._tell = tell
        self._client: AsyncEngineClient | None = None
        self._starting: asyncio.Task[None] | None = None
        self._launched_s = float("-inf")
        self._is_closed = False
        self._reported: set[str] = set()

    def start(self) -> None:
        """Begin to join or start the engine, unless that is done or under way."""
        is_busy = self._starting is not None and not self._starting.done()
        if not is_busy and self._client is None and not self._is_closed:
            self._starting = asyncio.ensure_future(self._join())

    async def complete(self, request: CompletionRequest) -> Completion | None:
        """The engine's answer; None when it has none to give (the user has been told why).

        Waits for an engine that is being started, but not beyond the request's deadline.
        Cancelling the caller cancels the work.
        """
        self.start()
        if self._starting is not None:
            # wait(), because the start must outlive a cancelled request.
            deadline_ms = request.deadline_ms
            timeout_s = None if deadline_ms is None else deadline_ms / 1000.0
            await asyncio.wait({self._starting}, timeout=timeout_s)
        client = self._client
        if client is None:
            return None
        try:
            completion = await client.complete(request)
        except EngineUnavailable as error:
            if self._client is client:
                self._client = None
                await client.aclose()
            self._report(str(error))
            return None
        except EngineRefused as error:
            self._report(f"The engine refused a request: {error}")
            return None
        self._reported.clear()
        return completion

    async def close(self) -> None:
        """Give up a start under way and close the connections; the engine itself lives on."""
        self._is_closed = True
        if self._starting is not None:
            self._starting.cancel()
            await asyncio.wait({self._starting})
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    async def _join(self) -> None:
        client = AsyncEngineClient(self._options.address)
        try:
            await self._reach(client)
        except (EngineUnavailable, EngineRefused) as error:
            self._report(str(error))
        except Exception as error:
            # Whatever else goes wrong here must cost completions only, never the editor.
            logger.debug("The engine could not be joined.", exc_info=True)
            self._report(f"The engine could not be joined ({type(error).__name__}).")
        else:
            self._client = client
            self._reported.clear()
            logger.info("The engine answers at %s.", self._options.address)
        finally:
            if self._client is not client:
                await client.aclose()

    async def _reach(self, client: AsyncEngineClient) -> None:
        """Return when an engine is ready. Raises EngineUnavailable when none will be."""
        may_launch = time.monotonic() >= self._launched_s + _RETRY_S
        try:
            health = await client.health()
        except NoEngineError:
            if not (self._options.may_start and may_launch):
                raise
            await self._launch()
            health = await self._health_of_launched(client)
        if health.get("state") == "loading":
            self._tell(types.MessageType.Info, "NemoDiff: the engine loads its model.")
        while health.get("state") == "loading":
            await asyncio.sleep(_POLL_S)
            health = await self._health_of_launched(client)
        if health.get("state") == "failed":
            raise EngineUnavailable(str(health.get("failure")))

    async def _launch(self) -> None:
        # Most servers find a running engine and never need what starts one.
        from engine.messages.launch import ensure_engine_async

        self._launched_s = time.monotonic()
        arguments = tuple(self._options.arguments)
        await ensure_engine_async(self._options.address, arguments=arguments)

    async def _health_of_launched(self, client: AsyncEngineClient) -> dict[str, Any]:
        """Health of an engine that listened a moment ago; when it is gone, its log says why."""
        try:
            return await client.health()
        except NoEngineError as error:
            from engine.messages.launch import default_log_path, last_line

            log_path = default_log_path(self._options.address)
            why = last_line(log_path) or str(error)
            raise EngineUnavailable(
                f"The engine has ended: {why} (its log is {log_path})"
            ) from None

    def _report(self, problem: str) -> None:
        """Tell log and user, once until the engine answers again."""
        if problem not in self._reported:
            self._reported.add(problem)
            logger.error("%s", problem)
            self._tell(types.MessageType.Error, f"NemoDiff: {problem}")
