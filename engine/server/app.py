"""The HTTP interface: POST /v1/completions, /v1/fill, /v1/repair and /v1/drain, GET /v1/models,
/health and /metrics.

Built by `serve.py` around one EngineThread. Everything here runs on the event loop and never
touches the model.
"""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable
from typing import cast

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from engine import __version__
from engine.messages.address import PROTOCOL_VERSION
from engine.messages.completion import Completion, CompletionRequest
from engine.messages.fill import FillRequest
from engine.messages.repair import RepairRequest
from engine.server.answers import (
    STREAM_END,
    HttpError,
    chunk_head,
    delta_chunk,
    error_chunk,
    json_response,
    last_chunk,
)
from engine.server.engine_thread import EngineThread, SubmitError
from engine.server.exchange import Exchange
from engine.server.guard import Guard, HostRule
from engine.server.intake import ClientGoneError, drain, read_request
from engine.server.job import Delta, EngineRequest, Event, Failure
from engine.server.marked_prompt import unmarked
from engine.server.metrics import Metrics

# Nobody reads it: the connection is closed. The number is nginx's "client closed request".
_CLIENT_CLOSED = 499


def build_app(thread: EngineThread, metrics: Metrics, *, host_rule: HostRule | None) -> ASGIApp:
    """The ASGI application. host_rule: None on a Unix socket, which no web page can reach."""
    # On a port without a token, anybody on this machine could end the engine.
    may_drain = host_rule is None or host_rule.token is not None
    pages = _Pages(thread, metrics, may_drain=may_drain)
    app = Starlette(
        routes=[
            Route("/v1/completions", pages.completions, methods=["POST"]),
            Route("/v1/fill", pages.fill, methods=["POST"]),
            Route("/v1/repair", pages.repair, methods=["POST"]),
            Route("/v1/models", pages.models, methods=["GET"]),
            Route("/v1/drain", pages.drain, methods=["POST"]),
            Route("/health", pages.health, methods=["GET"]),
            Route("/metrics", pages.metrics, methods=["GET"]),
        ],
        exception_handlers={
            HttpError: _on_problem,
            HTTPException: _on_http_exception,
            Exception: _on_fault,
        },
    )
    app.router.redirect_slashes = False
    return Guard(app, metrics, host_rule)


class _Pages:
    """The endpoints."""

    def __init__(self, thread: EngineThread, metrics: Metrics, *, may_drain: bool) -> None:
        self._thread = thread
        self._metrics = metrics
        self._may_drain = may_drain

    async def completions(self, request: Request) -> ASGIApp:
        return await self._answer(request, lambda body: CompletionRequest.from_json(unmarked(body)))

    async def fill(self, request: Request) -> ASGIApp:
        return await self._answer(request, FillRequest.from_json)

    async def repair(self, request: Request) -> ASGIApp:
        return await self._answer(request, RepairRequest.from_json)

    async def _answer(self, request: Request, parse: Callable[[object], EngineRequest]) -> ASGIApp:
        arrived_s = time.monotonic()
        try:
            asked = await read_request(request, parse)
            exchange = Exchange(self._thread, asked, arrived_s, request.receive)
        except ClientGoneError:
            return Response(status_code=_CLIENT_CLOSED)
        except SubmitError as error:
            raise HttpError.from_failure(error.failure) from None
        if isinstance(asked, CompletionRequest) and asked.stream:
            return _EventStream(exchange, self._thread.model_names[0])
        async with exchange:
            try:
                event = await exchange.last_event()
            except ClientGoneError:
                return Response(status_code=_CLIENT_CLOSED)
        if isinstance(event, Failure):
            raise HttpError.from_failure(event)
        return json_response(event.to_json())

    async def drain(self, request: Request) -> Response:
        """Take no more work, finish what there is, end: a newer version is to take over."""
        if not self._may_drain:
            raise HttpError(403, "Draining is for the engine's own user; end its process instead.")
        self._thread.drain()
        return json_response({"state": "draining", "pid": os.getpid()}, status=202)

    async def health(self, request: Request) -> Response:
        status = self._thread.status
        body = {
            "state": status.state,
            "phase": status.phase,
            "fraction": status.fraction,
            "failure": status.failure,
            "version": __version__,
            "protocol": PROTOCOL_VERSION,
            "pid": os.getpid(),
            "model_names": list(self._thread.model_names),
            "engine": self._thread.description,
        }
        return json_response(body)

    async def models(self, request: Request) -> Response:
        names, state = self._thread.model_names, self._thread.status.state
        entry = {
            "id": names[0],
            "object": "model",
            "owned_by": "nemodiff",
            "nemodiff": {"state": state, "aliases": list(names[1:])},
        }
        return json_response({"object": "list", "data": [entry]})

    async def metrics(self, request: Request) -> Response:
        return Response(
            self._metrics.render(), media_type="text/plain; version=0.0.4; charset=utf-8"
        )


class _EventStream:
    """The streamed answer, as an ASGI application.

    Its status line waits for the first event, so that a request which fails before any text is
    refused like one that is not streamed.
    """

    def __init__(self, exchange: Exchange, model: str) -> None:
        self._exchange = exchange
        self._head = chunk_head(f"cmpl-{uuid.uuid4().hex}", int(time.time()), model)
        self._sent: dict[int, str] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with self._exchange:
            try:
                event = await self._exchange.next_event()
                if isinstance(event, Failure):
                    await HttpError.from_failure(event).response()(scope, receive, send)
                    return
                await send(_stream_start())
                while isinstance(event, Delta):
                    await send(_stream_piece(self._delta(event)))
                    event = await self._exchange.next_event()
                await send(_stream_piece(self._ending(event), more=False))
            except ClientGoneError:
                return

    def _delta(self, event: Delta) -> bytes:
        self._sent[event.index] = self._sent.get(event.index, "") + event.text
        return delta_chunk(self._head, event.index, event.text)

    def _ending(self, event: Event) -> bytes:
        if isinstance(event, Completion):
            try:
                return last_chunk(event, self._sent, self._head) + STREAM_END
            except ValueError:
                event = Failure(500, "The engine took back text that it had sent.", "error")
        assert isinstance(event, Failure)
        return error_chunk(HttpError.from_failure(event))


class _DrainingResponse:
    """An answer to a client that still sends: told at once, then its rest is thrown away."""

    def __init__(self, response: Response) -> None:
        self._response = response

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def keep_open(message: Message) -> None:
            if message["type"] == "http.response.body":
                message = {**message, "more_body": True}
            await send(message)

        await self._response(scope, receive, keep_open)
        await drain(receive)
        await send(_stream_piece(b"", more=False))


def _stream_start() -> dict[str, object]:
    headers = [
        (b"content-type", b"text/event-stream; charset=utf-8"),
        (b"cache-control", b"no-store"),
    ]
    return {"type": "http.response.start", "status": 200, "headers": headers}


def _stream_piece(body: bytes, *, more: bool = True) -> dict[str, object]:
    return {"type": "http.response.body", "body": body, "more_body": more}


async def _on_problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, HttpError)
    response = error.response()
    if error.status == 413:
        return cast(Response, _DrainingResponse(response))
    return response


async def _on_fault(request: Request, error: Exception) -> Response:
    # Starlette raises the exception again after this answer; the guard logs it.
    return HttpError(500, "The engine failed on this request; see its log.").response()


async def _on_http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    message = str(error.detail)
    if error.status_code == 404:
        message = (
            "Unknown path; this engine has POST /v1/completions, /v1/fill, /v1/repair and GET "
            "/v1/models, /health, /metrics."
        )
    elif error.status_code == 405:
        # Starlette keeps the methods of a path as a set, whose order varies.
        allowed = sorted((error.headers or {}).get("Allow", "").split(", "))
        message = f"Wrong method; this path takes {' and '.join(allowed)}."
    return HttpError(error.status_code, message, headers=error.headers).response()
