"""Exchange: a job and the connection that waits for it; a closed connection cancels the job.

Used by `app.py` for streamed and whole answers alike.
"""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self

from starlette.types import Receive

from engine.server.engine_thread import EngineThread
from engine.server.intake import ClientGoneError
from engine.server.job import Delta, EngineAnswer, EngineRequest, Event, Failure


class Exchange:
    """Submits a request on entry and cancels whatever is left of it on exit.

    Raises SubmitError on entry. Must be used on the event loop, after the body was read: from
    then on `receive` tells one thing only, the disconnect.
    """

    def __init__(
        self, thread: EngineThread, request: EngineRequest, arrived_s: float, receive: Receive
    ) -> None:
        self._thread = thread
        self._job = thread.submit(request, arrived_s)
        self._watch = asyncio.ensure_future(_until_disconnect(receive))

    async def next_event(self) -> Event:
        """The job's next event. Raises ClientGoneError as soon as the connection closes."""
        getting = asyncio.ensure_future(self._job.events.get())
        try:
            await asyncio.wait({getting, self._watch}, return_when=asyncio.FIRST_COMPLETED)
            if self._watch.done():
                raise ClientGoneError
            return getting.result()
        finally:
            getting.cancel()

    async def last_event(self) -> EngineAnswer | Failure:
        """The answer, past all pieces of it. Raises ClientGoneError."""
        while isinstance(event := await self.next_event(), Delta):
            pass
        return event

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # After the last event this does nothing.
        self._thread.cancel(self._job)
        self._watch.cancel()


async def _until_disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
