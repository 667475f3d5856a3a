"""Guard: the outermost layer of the HTTP interface, around everything in `app.py`.

Keeps web pages out (by the browser's own marks), asks for the token where there is one, and turns
a fault of our own into a 500 without letting any request text into the log.
"""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Callable
from dataclasses import dataclass, field

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from engine.messages.address import is_loopback_host
from engine.server.answers import HttpError
from engine.server.faults import log_without_text
from engine.server.metrics import Metrics


@dataclass(frozen=True, slots=True)
class HostRule:
    """Which Host headers are answered on TCP; None in its place means a Unix socket.

    bound_host: the --host the engine listens on. A page that rebinds its own DNS name to this
    machine still sends that name, so only loopback names, and on an address the user opened
    on purpose also bare IP addresses and that very name, are accepted.
    token: what each request must bring as ``Authorization: Bearer``; None asks for nothing. With
    one, any Host is accepted: a page cannot know it, and names such as a proxy's are fine.
    """

    bound_host: str
    token: str | None = field(default=None, repr=False)

    def accepts(self, header: str) -> bool:
        host = _host_of(header)
        if self.token is not None or is_loopback_host(host):
            return True
        if is_loopback_host(self.bound_host):
            return False
        return host.lower() == self.bound_host.lower() or _is_ip_address(host)

    def has_token(self, authorization: str) -> bool:
        """Whether the header `authorization` brings the token that is asked for, if one is."""
        if self.token is None:
            return True
        scheme, _, given = authorization.partition(" ")
        # Compared in constant time: how long it takes tells nothing of how much of it was right.
        is_same = hmac.compare_digest(given.strip().encode(), self.token.encode())
        return scheme.lower() == "bearer" and is_same


class Guard:
    """An ASGI application around another one."""

    def __init__(self, app: ASGIApp, metrics: Metrics, host_rule: HostRule | None) -> None:
        self._app = app
        self._metrics = metrics
        self._host_rule = host_rule

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = False

        async def counted_send(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                self._metrics.count_response(message["status"])
            await send(message)

        try:
            self._refuse_strangers(Headers(scope=scope))
            await self._app(scope, receive, counted_send)
        except HttpError as refusal:
            await refusal.response()(scope, receive, counted_send)
        except Exception as error:
            # Never to uvicorn, which would log the exception's message with it.
            log_without_text(error)
            if not started:
                problem = HttpError(500, "The engine failed on this request; see its log.")
                await problem.response()(scope, receive, counted_send)

    def _refuse_strangers(self, headers: Headers) -> None:
        if self._host_rule is None:
            return
        if "origin" in headers:
            raise HttpError(403, "Origin: web pages may not use this engine.")
        if not self._host_rule.accepts(headers.get("host", "")):
            raise HttpError(403, "Host: address this engine as 127.0.0.1 or localhost.")
        if not self._host_rule.has_token(headers.get("authorization", "")):
            raise HttpError(
                401,
                "Authorization: this engine asks for its token, and none or another one came.",
                code="wrong_token",
                headers={"WWW-Authenticate": "Bearer"},
            )


def _host_of(header: str) -> str:
    """The host of ``host[:port]`` or ``[v6]:port``."""
    if header.startswith("["):
        return header[1:].partition("]")[0]
    return header.partition(":")[0]


def _is_ip_address(host: str) -> bool:
    parse: Callable[[str], object] = ipaddress.ip_address
    try:
        parse(host)
    except ValueError:
        return False
    return True
