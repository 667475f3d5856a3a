"""EngineLink: the language server's way to the resident engine, which it joins or starts.

Owned by `server.py`. Problems with the engine become one line of the log, not one per keystroke,
those that last one visible message too, and no answer (None).
"""

from __future__ import annotations

import asyncio
import logging
import math
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
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
"""An engine that did not become ready is started again by the first request after this time."""

_ANSWER_MARGIN_S = 2.0
"""An engine ends within one forward of the deadline; past this margin it is taken to hang."""

_POLL_S = 0.25

# How the command line begins the sentence with which a process ends, and how long that may take.
_LAST_WORDS_PREFIX = "nemodiff: "
_LAST_WORDS_S = 3.0

# Process ids, times and remaining seconds tell the same problem in other words.
_DIGITS = re.compile(r"\d+")


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """Where the engine listens, the arguments for one that we start, and whether we may."""

    address: EngineAddress
    arguments: Sequence[str] = ()
    may_start: bool = True


class _PausingError(Exception):
    """The engine did not become ready a moment ago; the message says when it is started again."""


class EngineLink:
    """Joins a running engine or starts one in the background; used from the event loop only.

    tell: a line for the editor's log. show: a message that the user sees, for what lasts.
    """

    def __init__(self, options: EngineOptions, tell: Tell, show: Tell) -> None:
        self._options = options
        self._tell = tell
        self._show = show
        # One for the whole life: closing it would break the answers that other documents await.
        self._client = AsyncEngineClient(options.address)
        self._is_joined = False
        self._starting: asyncio.Task[None] | None = None
        self._launched_s = float("-inf")
        self._start_failure = ""
        self._is_closed = False
        self._reported: set[str] = set()
        self._shown: list[str] = []

    def start(self) -> None:
        """Begin to join or start the engine, unless that is done or under way."""
        is_busy = self._starting is not None and not self._starting.done()
        if not (is_busy or self._is_joined or self._is_closed):
            self._starting = asyncio.ensure_future(self._join())

    async def complete(self, request: CompletionRequest) -> Completion | None:
        """The engine's answer; None when it has none to give (the user has been told why).

        Waits for an engine that is being started, but not beyond the request's deadline, and for
        the answer not beyond the deadline and a margin. Cancelling the caller cancels the work.
        """
        self.start()
        deadline_ms = request.deadline_ms
        deadline_s = None if deadline_ms is None else deadline_ms / 1000.0
        if self._starting is not None:
            # wait(), because the start must outlive a cancelled request.
            await asyncio.wait({self._starting}, timeout=deadline_s)
        if not self._is_joined:
            return None
        limit_s = None if deadline_s is None else deadline_s + _ANSWER_MARGIN_S
        try:
            async with asyncio.timeout(limit_s):
                completion = await self._client.complete(request)
        except TimeoutError:
            # The next request asks first whether anybody is there, and that has a short limit.
            self._is_joined = False
            self._report(f"The engine at {self._options.address} has not answered in time.")
            return None
        except EngineUnavailable as error:
            self._is_joined = False
            self._report(str(error))
            return None
        except EngineRefused as error:
            self._report(f"The engine refused a request: {error}")
            return None
        self._forget_problems()
        return completion

    async def close(self) -> None:
        """Give up a start under way and close the connections; the engine itself lives on."""
        self._is_closed = True
        self._is_joined = False
        if self._starting is not None:
            self._starting.cancel()
            await asyncio.wait({self._starting})
        await self._client.aclose()

    async def _join(self) -> None:
        try:
            await self._reach()
        except _PausingError as pause:
            self._report(str(pause))
        except (EngineUnavailable, EngineRefused) as error:
            self._report_lasting(str(error), is_vague=isinstance(error, NoEngineError))
        except Exception as error:
            # Whatever else goes wrong here must cost completions only, never the editor.
            logger.debug("The engine could not be joined.", exc_info=True)
            self._report_lasting(f"The engine could not be joined ({type(error).__name__}).")
        else:
            self._is_joined = True
            # The pause is for engines that never get ready, not for one that was lost later.
            self._launched_s = float("-inf")
            self._forget_problems()
            logger.info("The engine answers at %s.", self._options.address)

    async def _reach(self) -> None:
        """Return when an engine is ready. Raises EngineUnavailable or _PausingError."""
        try:
            health = await self._client.health()
        except NoEngineError:
            if not self._options.may_start:
                raise
            await self._launch()
            health = await self._health_of_launched()
        if health.get("state") == "loading":
            self._tell(types.MessageType.Info, "NemoDiff: the engine loads its model.")
        while health.get("state") == "loading":
            await asyncio.sleep(_POLL_S)
            health = await self._health_of_launched()
        if health.get("state") == "failed":
            raise EngineUnavailable(str(health.get("failure")))

    async def _launch(self) -> None:
        """Start an engine. Raises _PausingError soon after a start that failed."""
        # Most servers find a running engine and never need what starts one.
        from engine.messages.launch import ensure_engine_async

        pause_s = self._launched_s + _RETRY_S - time.monotonic()
        if pause_s > 0:
            raise _PausingError(
                f"NemoDiff starts its engine again in {math.ceil(pause_s)} s: {self._start_failure}"
            )
        if self._options.address.socket is not None:
            self._launched_s = time.monotonic()
        arguments = tuple(self._options.arguments)
        await ensure_engine_async(self._options.address, arguments=arguments)

    async def _health_of_launched(self) -> dict[str, Any]:
        """Health of an engine that listened a moment ago; when it is gone, its log says why."""
        try:
            return await self._client.health()
        except NoEngineError as error:
            from engine.messages.launch import default_log_path

            log_path = default_log_path(self._options.address)
            why = await _last_words(log_path) or str(error)
            raise EngineUnavailable(
                f"The engine has ended: {why} (its log is {log_path})"
            ) from None

    def _forget_problems(self) -> None:
        """The engine has answered: whatever goes wrong from now on is news."""
        self._reported.clear()
        self._shown.clear()

    def _report(self, problem: str) -> None:
        """Tell the log, once until the engine answers again."""
        cause = _cause_of(problem)
        if cause not in self._reported:
            self._reported.add(cause)
            logger.error("%s", problem)
            self._tell(types.MessageType.Error, _named(problem))

    def _report_lasting(self, problem: str, *, is_vague: bool = False) -> None:
        """Tell the log and show the user, once for each cause until the engine answers again.

        is_vague: that no engine is there, which is no news when a reason for it has been shown.
        """
        self._report(problem)
        self._start_failure = problem
        cause = _cause_of(problem)
        # The same sentence comes bare from a living engine, and with more around it from its log.
        is_known = any(cause in shown or shown in cause for shown in self._shown)
        if not is_known and not (is_vague and self._shown):
            self._shown.append(cause)
            self._show(types.MessageType.Warning, _named(problem))


async def _last_words(log_path: Path) -> str:
    """Why an engine has ended; it writes that only some time after it stopped to listen."""
    from engine.messages.launch import last_line

    line = last_line(log_path)
    give_up_s = time.monotonic() + _LAST_WORDS_S
    while not line.startswith(_LAST_WORDS_PREFIX) and time.monotonic() < give_up_s:
        await asyncio.sleep(_POLL_S)
        line = last_line(log_path)
    return line.removeprefix(_LAST_WORDS_PREFIX)


def _cause_of(problem: str) -> str:
    return _DIGITS.sub("", problem)


def _named(problem: str) -> str:
    return problem if problem.startswith("NemoDiff") else f"NemoDiff: {problem}"
