"""EngineClient and AsyncEngineClient: ask a running engine over its Unix socket or URL.

Called by the command line and the language server. Knows HTTP and `completion.py` only; no torch.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, Self

import httpx

from engine.errors import EngineError
from engine.messages.address import PROTOCOL_VERSION, EngineAddress
from engine.messages.completion import Completion, CompletionRequest

_CONNECT_TIMEOUT_S = 5.0
# A Unix connection costs some 50 us, and a fresh one per request can never be a stale one that the
# engine closed in the meantime.
_LIMITS = httpx.Limits(max_connections=None, max_keepalive_connections=0)


class EngineUnavailable(EngineError):
    """No usable engine answered. One sentence."""


class NoEngineError(EngineUnavailable):
    """Nothing listens there, or what did broke the connection off."""


class EngineRefused(EngineError):
    """The engine answered with an error. `field` is the request field at fault, if one is."""

    def __init__(self, message: str, field: str | None, status: int) -> None:
        super().__init__(message)
        self.field = field
        self.status = status


@dataclass(frozen=True, slots=True)
class TextDelta:
    """Text that continues choice `index` of a streamed answer."""

    index: int
    text: str


class AsyncEngineClient:
    """Asks one engine; any number of requests at a time.

    Cancelling a task that awaits an answer closes its connection, upon which the engine stops that
    request within one forward.
    """

    def __init__(self, address: EngineAddress) -> None:
        self.address = address
        uds = None if address.socket is None else str(address.socket)
        self._http = httpx.AsyncClient(
            transport=httpx.AsyncHTTPTransport(
                verify=_needs_tls(address), uds=uds, limits=_LIMITS, trust_env=False
            ),
            base_url=address.url or "http://localhost",
            timeout=_timeout(None),
            trust_env=False,
        )

    async def health(self, *, timeout_s: float = _CONNECT_TIMEOUT_S) -> dict[str, Any]:
        """The engine's state. Raises EngineUnavailable (also for another protocol number)."""
        with _unavailable(self.address):
            response = await self._http.get("/health", timeout=_timeout(timeout_s))
        return _checked_health(self.address, response)

    async def complete(self, request: CompletionRequest) -> Completion:
        """The whole answer. Raises EngineUnavailable or EngineRefused."""
        body = replace(request, stream=False).to_json()
        with _unavailable(self.address):
            response = await self._http.post("/v1/completions", json=body)
        return _checked_completion(self.address, response)

    async def stream(self, request: CompletionRequest) -> AsyncIterator[TextDelta | Completion]:
        """Pieces of text as they come, then the whole Completion.

        Closing the iterator early closes the connection. Raises EngineUnavailable, EngineRefused.
        """
        body = replace(request, stream=True).to_json()
        assembly = _StreamAssembly(self.address)
        with _unavailable(self.address):
            async with self._http.stream("POST", "/v1/completions", json=body) as response:
                if response.is_error:
                    await response.aread()
                    raise _refusal(response)
                async for line in response.aiter_lines():
                    for item in assembly.feed(line):
                        yield item
        yield assembly.finish()

    async def aclose(self) -> None:
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()


class EngineClient:
    """The same for callers without an event loop; may be used from several threads at a time."""

    def __init__(self, address: EngineAddress) -> None:
        self.address = address
        uds = None if address.socket is None else str(address.socket)
        self._http = httpx.Client(
            transport=httpx.HTTPTransport(
                verify=_needs_tls(address), uds=uds, limits=_LIMITS, trust_env=False
            ),
            base_url=address.url or "http://localhost",
            timeout=_timeout(None),
            trust_env=False,
        )

    def health(self, *, timeout_s: float = _CONNECT_TIMEOUT_S) -> dict[str, Any]:
        """The engine's state. Raises EngineUnavailable (also for another protocol number)."""
        with _unavailable(self.address):
            response = self._http.get("/health", timeout=_timeout(timeout_s))
        return _checked_health(self.address, response)

    def complete(self, request: CompletionRequest) -> Completion:
        """The whole answer. Raises EngineUnavailable or EngineRefused."""
        body = replace(request, stream=False).to_json()
        with _unavailable(self.address):
            response = self._http.post("/v1/completions", json=body)
        return _checked_completion(self.address, response)

    def stream(self, request: CompletionRequest) -> Iterator[TextDelta | Completion]:
        """Pieces of text as they come, then the whole Completion; see AsyncEngineClient.stream."""
        body = replace(request, stream=True).to_json()
        assembly = _StreamAssembly(self.address)
        with (
            _unavailable(self.address),
            self._http.stream("POST", "/v1/completions", json=body) as response,
        ):
            if response.is_error:
                response.read()
                raise _refusal(response)
            for line in response.iter_lines():
                yield from assembly.feed(line)
        yield assembly.finish()

    def close(self) -> None:
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class _StreamAssembly:
    """Turns the lines of a server-sent event stream into deltas and the final Completion."""

    def __init__(self, address: EngineAddress) -> None:
        self._address = address
        self._texts: dict[int, str] = {}
        self._last: dict[str, Any] | None = None
        self._ended = False

    def feed(self, line: str) -> Iterator[TextDelta]:
        if not line.startswith("data:"):
            return
        data = line.removeprefix("data:").strip()
        if data == "[DONE]":
            self._ended = True
            return
        try:
            chunk = json.loads(data)
            if "error" in chunk:
                raise _refusal_from(chunk["error"], 500)
            deltas = [(int(c["index"]), str(c["text"])) for c in chunk["choices"]]
        except (ValueError, KeyError, TypeError):
            raise _foreign_answer(self._address) from None
        for index, text in deltas:
            self._texts[index] = self._texts.get(index, "") + text
            if text:
                yield TextDelta(index, text)
        if "nemodiff" in chunk:
            self._last = chunk

    def finish(self) -> Completion:
        if not self._ended or self._last is None:
            raise EngineUnavailable(f"The engine at {self._address} broke off its answer.")
        choices = [{**c, "text": self._texts[c["index"]]} for c in self._last["choices"]]
        return Completion.from_json({**self._last, "choices": choices})


def _needs_tls(address: EngineAddress) -> bool:
    # Without TLS, reading the certificate store would cost every client some 20 ms for nothing.
    return address.url is not None and address.url.startswith("https://")


def _timeout(answer_s: float | None) -> httpx.Timeout:
    # No limit on the answer itself: how long it may take is the request's own deadline_ms.
    return httpx.Timeout(answer_s, connect=_CONNECT_TIMEOUT_S)


@contextmanager
def _unavailable(address: EngineAddress) -> Iterator[None]:
    try:
        yield
    except (httpx.ConnectError, httpx.ConnectTimeout):
        raise NoEngineError(
            f"No engine listens on {address}; start one with `nemodiff engine start`."
        ) from None
    except httpx.TimeoutException:
        raise EngineUnavailable(f"The engine at {address} does not answer in time.") from None
    except (httpx.TransportError, httpx.InvalidURL) as error:
        raise NoEngineError(
            f"The connection to the engine at {address} broke ({type(error).__name__})."
        ) from None


def _checked_health(address: EngineAddress, response: httpx.Response) -> dict[str, Any]:
    try:
        body = response.json()
        protocol = body["protocol"]
    except (ValueError, KeyError, TypeError):
        raise _foreign_answer(address) from None
    if response.is_error or not isinstance(body, dict):
        raise _foreign_answer(address)
    if protocol != PROTOCOL_VERSION:
        raise EngineUnavailable(
            f"The engine at {address} is of another version (protocol {protocol}, needed is "
            f"{PROTOCOL_VERSION}); stop it with `nemodiff engine stop` and start it anew."
        )
    return body


def _checked_completion(address: EngineAddress, response: httpx.Response) -> Completion:
    if response.is_error:
        raise _refusal(response)
    try:
        return Completion.from_json(response.json())
    except (ValueError, KeyError, TypeError):
        raise _foreign_answer(address) from None


def _refusal(response: httpx.Response) -> EngineRefused:
    try:
        error = response.json()["error"]
    except (ValueError, KeyError, TypeError):
        error = None
    return _refusal_from(error, response.status_code)


def _refusal_from(error: object, status: int) -> EngineRefused:
    if not isinstance(error, dict) or not isinstance(error.get("message"), str):
        return EngineRefused(f"The engine answered with status {status}.", None, status)
    field = error.get("param")
    return EngineRefused(error["message"], field if isinstance(field, str) else None, status)


def _foreign_answer(address: EngineAddress) -> EngineUnavailable:
    return EngineUnavailable(f"What listens on {address} does not answer like a NemoDiff engine.")
