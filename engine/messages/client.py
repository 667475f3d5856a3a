"""EngineClient and AsyncEngineClient: ask a running engine over its Unix socket or URL.

Called by the command line and the language server. Knows HTTP and the messages only; no torch.
"""

from __future__ import annotations

import json
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx

from engine.messages.address import PROTOCOL_VERSION, EngineAddress
from engine.messages.completion import Completion, CompletionRequest
from engine.messages.endpoint import read_endpoint
from engine.messages.errors import ConnectionLostError as ConnectionLostError
from engine.messages.errors import EngineRefused as EngineRefused
from engine.messages.errors import EngineUnavailable as EngineUnavailable
from engine.messages.errors import NoEngineError as NoEngineError
from engine.messages.errors import OtherVersionError as OtherVersionError
from engine.messages.fill import Fill, FillRequest
from engine.messages.repair import Repair, RepairRequest

_CONNECT_TIMEOUT_S = 5.0
# A Unix connection costs some 50 us, and a fresh one per request can never be a stale one that the
# engine closed in the meantime.
_LIMITS = httpx.Limits(max_connections=None, max_keepalive_connections=0)

Answer = TypeVar("Answer")


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
                verify=_tls(address), uds=uds, limits=_LIMITS, trust_env=False
            ),
            timeout=_timeout(None),
            trust_env=False,
        )

    async def health(self, *, timeout_s: float = _CONNECT_TIMEOUT_S) -> dict[str, Any]:
        """The engine's state. Raises EngineUnavailable (also for another protocol number)."""
        with _unavailable(self.address):
            response = await self._http.get(
                **_target(self.address, "/health"), timeout=_timeout(timeout_s)
            )
        return _checked_health(self.address, response)

    async def complete(self, request: CompletionRequest) -> Completion:
        """The whole answer. Raises EngineUnavailable or EngineRefused."""
        body = replace(request, stream=False).to_json()
        with _unavailable(self.address):
            response = await self._http.post(**_target(self.address, "/v1/completions"), json=body)
        return _checked(self.address, response, Completion.from_json)

    async def fill(self, request: FillRequest) -> Fill:
        """Texts for all holes. Raises EngineUnavailable or EngineRefused."""
        target = _target(self.address, "/v1/fill")
        with _unavailable(self.address):
            response = await self._http.post(**target, json=request.to_json())
        return _checked(self.address, response, Fill.from_json)

    async def repair(self, request: RepairRequest) -> Repair:
        """The selection with what was found better. Raises EngineUnavailable or EngineRefused."""
        target = _target(self.address, "/v1/repair")
        with _unavailable(self.address):
            response = await self._http.post(**target, json=request.to_json())
        return _checked(self.address, response, Repair.from_json)

    async def stream(self, request: CompletionRequest) -> AsyncIterator[TextDelta | Completion]:
        """Pieces of text as they come, then the whole Completion.

        Closing the iterator early closes the connection. Raises EngineUnavailable, EngineRefused.
        """
        body = replace(request, stream=True).to_json()
        assembly = _StreamAssembly(self.address)
        with _unavailable(self.address):
            target = _target(self.address, "/v1/completions")
            async with self._http.stream("POST", **target, json=body) as response:
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
                verify=_tls(address), uds=uds, limits=_LIMITS, trust_env=False
            ),
            timeout=_timeout(None),
            trust_env=False,
        )

    def health(self, *, timeout_s: float = _CONNECT_TIMEOUT_S) -> dict[str, Any]:
        """The engine's state. Raises EngineUnavailable (also for another protocol number)."""
        with _unavailable(self.address):
            response = self._http.get(
                **_target(self.address, "/health"), timeout=_timeout(timeout_s)
            )
        return _checked_health(self.address, response)

    def drain(self) -> bool:
        """Ask the engine to take no more work, finish what it has, and end.

        False when it does not know how. Raises EngineUnavailable.
        """
        with _unavailable(self.address):
            response = self._http.post(**_target(self.address, "/v1/drain"))
        return response.is_success

    def complete(self, request: CompletionRequest) -> Completion:
        """The whole answer. Raises EngineUnavailable or EngineRefused."""
        body = replace(request, stream=False).to_json()
        with _unavailable(self.address):
            response = self._http.post(**_target(self.address, "/v1/completions"), json=body)
        return _checked(self.address, response, Completion.from_json)

    def fill(self, request: FillRequest) -> Fill:
        """Texts for all holes. Raises EngineUnavailable or EngineRefused."""
        target = _target(self.address, "/v1/fill")
        with _unavailable(self.address):
            response = self._http.post(**target, json=request.to_json())
        return _checked(self.address, response, Fill.from_json)

    def repair(self, request: RepairRequest) -> Repair:
        """The selection with what was found better. Raises EngineUnavailable or EngineRefused."""
        target = _target(self.address, "/v1/repair")
        with _unavailable(self.address):
            response = self._http.post(**target, json=request.to_json())
        return _checked(self.address, response, Repair.from_json)

    def stream(self, request: CompletionRequest) -> Iterator[TextDelta | Completion]:
        """Pieces of text as they come, then the whole Completion; see AsyncEngineClient.stream."""
        body = replace(request, stream=True).to_json()
        assembly = _StreamAssembly(self.address)
        with (
            _unavailable(self.address),
            self._http.stream(
                "POST", **_target(self.address, "/v1/completions"), json=body
            ) as response,
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


def _target(address: EngineAddress, path: str) -> dict[str, Any]:
    """URL and headers of `path` at the engine. Raises NoEngineError."""
    url, token = address.url or "http://localhost", address.token
    if address.endpoint_file is not None:
        endpoint = read_endpoint(address.endpoint_file)
        if endpoint is None:
            raise _nobody(address)
        url, token = endpoint.url, endpoint.token
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    return {"url": url + path, "headers": headers}


def _tls(address: EngineAddress) -> ssl.SSLContext | bool:
    # Without TLS, reading the certificate store would cost every client some 20 ms for nothing.
    if address.url is None or not address.url.startswith("https://"):
        return False
    # SSL_CERT_FILE and SSL_CERT_DIR may name a certificate authority of one's own.
    return httpx.create_ssl_context()


def _timeout(answer_s: float | None) -> httpx.Timeout:
    # No limit on the answer itself: how long it may take is the request's own deadline_ms.
    return httpx.Timeout(answer_s, connect=_CONNECT_TIMEOUT_S)


@contextmanager
def _unavailable(address: EngineAddress) -> Iterator[None]:
    try:
        yield
    except (httpx.ConnectError, httpx.ConnectTimeout) as error:
        if "CERTIFICATE_VERIFY_FAILED" in str(error):
            raise EngineUnavailable(
                f"The certificate of the engine at {address} cannot be verified; name the "
                "authority that signed it in SSL_CERT_FILE."
            ) from None
        raise _nobody(address) from None
    except httpx.TimeoutException:
        raise EngineUnavailable(f"The engine at {address} does not answer in time.") from None
    except (httpx.TransportError, httpx.InvalidURL) as error:
        raise ConnectionLostError(
            f"The connection to the engine at {address} broke ({type(error).__name__})."
        ) from None


def _nobody(address: EngineAddress) -> NoEngineError:
    how = "start one with `nemodiff engine start`" if address.path else "start it there"
    return NoEngineError(f"No engine listens on {address}; {how}.")


def _checked_health(address: EngineAddress, response: httpx.Response) -> dict[str, Any]:
    if response.status_code in (401, 403):
        raise EngineUnavailable(f"The engine at {address} refuses us: {_refusal(response)}")
    try:
        body = response.json()
        protocol = body["protocol"]
    except (ValueError, KeyError, TypeError):
        raise _foreign_answer(address) from None
    if response.is_error or not isinstance(body, dict) or not isinstance(protocol, int):
        raise _foreign_answer(address)
    if protocol != PROTOCOL_VERSION:
        age, other = ("newer", "this program") if protocol > PROTOCOL_VERSION else ("older", "it")
        pid = body.get("pid")
        raise OtherVersionError(
            f"The engine at {address} is {age} (protocol {protocol}, needed is "
            f"{PROTOCOL_VERSION}); update {other} and start it anew.",
            protocol,
            pid if isinstance(pid, int) else None,
        )
    return body


def _checked(
    address: EngineAddress, response: httpx.Response, parse: Callable[[dict[str, Any]], Answer]
) -> Answer:
    if response.is_error:
        raise _refusal(response)
    try:
        return parse(response.json())
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
    field, code = error.get("param"), error.get("code")
    return EngineRefused(
        error["message"],
        field if isinstance(field, str) else None,
        status,
        code if isinstance(code, str) else None,
    )


def _foreign_answer(address: EngineAddress) -> EngineUnavailable:
    return EngineUnavailable(f"What listens on {address} does not answer like a NemoDiff engine.")
