"""EngineLink: the language server's way to the resident engine, which it joins or starts.

Owned by `server.py`. Problems with the engine become one line of the log, not one per keystroke,
those that last one visible message too, and no answer (None).
"""

from __future__ import annotations

import asyncio
import importlib
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from lsprotocol import types

from engine.messages.completion import Completion, CompletionRequest
from engine.messages.errors import (
    ConnectionLostError,
    EngineRefused,
    EngineUnavailable,
    NoEngineError,
)
from nemodiff_lsp.link.engine_options import EngineOptions as EngineOptions
from nemodiff_lsp.link.engine_search import EngineSearch, PausingError
from nemodiff_lsp.link.engine_state import EngineState, Listener
from nemodiff_lsp.problems import Problems

if TYPE_CHECKING:
    from engine.messages.client import AsyncEngineClient
    from engine.messages.fill import Fill, FillRequest
    from engine.messages.repair import Repair, RepairRequest

logger = logging.getLogger(__name__)

Tell = Callable[[types.MessageType, str], None]
T = TypeVar("T")

_ANSWER_MARGIN_S = 2.0
"""An engine ends within one forward of the deadline; past this margin it is taken to hang."""

# One that has left since the last request is found out by the first try, its heir by the second;
# the third is for an heir that was asked to leave in between.
_MAX_TRIES = 3

# A wait so short is none; the caller's own deadline then goes to the engine unchanged.
_NO_WAIT_MS = 5.0


class EngineLink:
    """Joins a running engine or starts one in the background; used from the event loop only.

    tell: a line for the editor's log. show: a message that the user sees, for what lasts.
    """

    def __init__(
        self, options: EngineOptions, tell: Tell, show: Tell, on_state: Listener | None = None
    ) -> None:
        self._options = options
        self._problems = Problems(tell, show)
        self._listeners: list[Listener] = [] if on_state is None else [on_state]
        self._state = EngineState("joining", "The engine is being looked for.")
        # One for the whole life: closing it would break the answers that other documents await.
        self._client: AsyncEngineClient | None = None
        self._is_joined = False
        self._joining: asyncio.Task[None] | None = None
        self._search = self._new_search()
        self._is_closed = False

    @property
    def state(self) -> EngineState:
        """How things stand with the engine."""
        return self._state

    @property
    def options(self) -> EngineOptions:
        """Which engine is used."""
        return self._options

    def subscribe(self, listener: Listener) -> None:
        """Tell `listener` the present state, and each later one."""
        self._listeners.append(listener)
        _tell_state(listener, self._state)

    def start(self) -> None:
        """Begin to join or start the engine, unless that is done or under way."""
        is_busy = self._joining is not None and not self._joining.done()
        if not (is_busy or self._is_joined or self._is_closed):
            self._joining = asyncio.ensure_future(self._join())

    async def complete(self, request: CompletionRequest) -> Completion | None:
        """The engine's answer; None when it has none to give (the user has been told why).

        Waits for an engine that is being started, but not beyond the request's deadline, and for
        the answer not beyond the deadline and a margin. Cancelling the caller cancels the work.
        """
        return await self._ask(
            request.deadline_ms,
            lambda client, left_ms: client.complete(replace(request, deadline_ms=left_ms)),
        )

    async def fill(self, request: FillRequest) -> Fill | None:
        """As `complete`, for several holes at once."""
        return await self._ask(
            request.deadline_ms,
            lambda client, left_ms: client.fill(replace(request, deadline_ms=left_ms)),
        )

    async def repair(self, request: RepairRequest) -> Repair | None:
        """As `complete`, for a text that is to be made better."""
        return await self._ask(
            request.deadline_ms,
            lambda client, left_ms: client.repair(replace(request, deadline_ms=left_ms)),
        )

    async def restart(self) -> None:
        """End the engine, whoever else uses it, and begin to start another one.

        Raises EngineUnavailable for one that we may not or cannot end.
        """
        if not self._options.may_start:
            raise EngineUnavailable("This engine was not started from here; restart it there.")
        from engine.messages.retire import stop_engine

        await asyncio.to_thread(stop_engine, self._options.address)
        self._is_joined = False
        # By hand means now, whatever has failed before.
        self._search = self._new_search()
        self._problems.forget()
        self._set(EngineState("joining", "The engine is being restarted."))
        self.start()

    def configure(self, options: EngineOptions) -> Coroutine[Any, Any, None]:
        """Use another engine from now on; what the old one was asked comes to nothing.

        That holds when this returns; to await the result closes what the old one was reached by.
        """
        if options == self._options or self._is_closed:
            return _closed(None, None)
        old_client, self._client = self._client, None
        old_joining, self._joining = self._joining, None
        if old_joining is not None:
            old_joining.cancel()
        self._options = options
        self._is_joined = False
        self._search = self._new_search()
        self._problems.forget()
        self._set(EngineState("joining", "The engine is being looked for."))
        self.start()
        return _closed(old_joining, old_client)

    async def close(self) -> None:
        """Give up a start under way and close the connections; the engine itself lives on."""
        self._is_closed = True
        self._is_joined = False
        if self._joining is not None:
            self._joining.cancel()
            await asyncio.wait({self._joining})
        self._set(EngineState("closed", "The language server is shutting down."))
        if self._client is not None:
            await self._client.aclose()

    async def _ask(
        self,
        deadline_ms: float | None,
        work: Callable[[AsyncEngineClient, float | None], Awaitable[T]],
    ) -> T | None:
        """What `work` gets from the engine within `deadline_ms`, or None.

        A request that an engine did not take, because it had left or was leaving, goes to the next
        one; a request that it took and lost is not repeated: it may be what killed it.
        """
        start_s = time.monotonic()
        for _ in range(_MAX_TRIES):
            left_ms = _left_ms(deadline_ms, start_s)
            client = await self._joined_client(left_ms)
            left_ms = _left_ms(deadline_ms, start_s)
            if client is None or left_ms == 0.0:
                return None
            limit_s = None if left_ms is None else left_ms / 1e3 + _ANSWER_MARGIN_S
            try:
                async with asyncio.timeout(limit_s):
                    answer = await work(client, left_ms)
            except (EngineUnavailable, EngineRefused, TimeoutError) as error:
                if client is not self._client or not self._may_try_again(error):
                    return None
            else:
                self._search.backoff.note_answer()
                self._problems.forget()
                return answer
        return None

    async def _joined_client(self, left_ms: float | None) -> AsyncEngineClient | None:
        """The client of a ready engine; None when there is none within `left_ms`."""
        self.start()
        if not self._is_joined and self._joining is not None:
            # wait(), because the start must outlive a cancelled request.
            await asyncio.wait({self._joining}, timeout=None if left_ms is None else left_ms / 1e3)
        return self._client if self._is_joined else None

    def _may_try_again(self, error: EngineUnavailable | EngineRefused | TimeoutError) -> bool:
        """Take note of a request that failed; True when no engine has taken it."""
        if isinstance(error, EngineRefused):
            if error.is_leaving:
                self._is_joined = False
                return True
            self._problems.report(f"The engine refused a request: {error}")
            return False
        self._is_joined = False
        if isinstance(error, TimeoutError):
            # The next request asks first whether anybody is there, and that has a short limit.
            self._problems.report(
                f"The engine at {self._options.address} has not answered in time."
            )
            return False
        if isinstance(error, NoEngineError) and not isinstance(error, ConnectionLostError):
            return True
        self._problems.report(str(error))
        self._set(EngineState("lost", "The engine has ended; it is started again."))
        # At once, so that the next request finds it sooner.
        self.start()
        return False

    async def _join(self) -> None:
        was_ready = self._state.kind in ("ready", "lost")
        try:
            health = await self._search.ready(await self._opened_client(), was_ready=was_ready)
        except PausingError as pause:
            self._problems.report(str(pause))
            self._set(EngineState("paused", str(pause)))
        except (EngineUnavailable, EngineRefused) as error:
            self._note_failure(str(error), is_vague=isinstance(error, NoEngineError))
        except Exception as error:
            # Whatever else goes wrong here must cost completions only, never the editor.
            logger.debug("The engine could not be joined.", exc_info=True)
            self._note_failure(f"The engine could not be joined ({type(error).__name__}).")
        else:
            self._is_joined = True
            logger.info("The engine answers at %s.", self._options.address)
            self._set(_ready_state(health))

    def _note_failure(self, problem: str, *, is_vague: bool = False) -> None:
        self._search.note_failure(problem)
        self._problems.report_lasting(problem, is_vague=is_vague)
        self._set(EngineState("failed", problem))

    async def _opened_client(self) -> AsyncEngineClient:
        """The client, made with the first call: its imports must not delay the first reply."""
        module = await asyncio.to_thread(importlib.import_module, "engine.messages.client")
        if self._client is None:
            self._client = module.AsyncEngineClient(self._options.address)
        return self._client

    def _new_search(self) -> EngineSearch:
        return EngineSearch(self._options, self._problems, self._set)

    def _set(self, state: EngineState) -> None:
        if state == self._state:
            return
        self._state = state
        for listener in self._listeners:
            _tell_state(listener, state)


async def _closed(joining: asyncio.Task[None] | None, client: AsyncEngineClient | None) -> None:
    """Return when the cancelled `joining` has ended and `client` is closed."""
    if joining is not None:
        await asyncio.wait({joining})
    if client is not None:
        await client.aclose()


def _left_ms(deadline_ms: float | None, start_s: float) -> float | None:
    """Milliseconds until the deadline, 0 when it has passed."""
    if deadline_ms is None:
        return None
    left_ms = deadline_ms - (time.monotonic() - start_s) * 1e3
    # Nothing was waited for: the deadline is the one that was asked for.
    if left_ms > deadline_ms - _NO_WAIT_MS:
        return deadline_ms
    # Below a millisecond no request is valid, nor of any use.
    return left_ms if left_ms >= 1.0 else 0.0


def _tell_state(listener: Listener, state: EngineState) -> None:
    try:
        listener(state)
    except Exception as error:
        # What shows the state must not cost a completion.
        logger.error("A listener to the engine's state failed (%s).", type(error).__name__)


def _ready_state(health: dict[str, Any]) -> EngineState:
    described = health.get("engine")
    facts = described if isinstance(described, dict) else {}
    names = health.get("model_names") or ["a model"]
    device = f" on {facts['device']}" if facts.get("device") else ""
    return EngineState("ready", f"The engine is ready: {facts.get('model', names[0])}{device}.")
