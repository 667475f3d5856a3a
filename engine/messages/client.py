"""EngineClient and AsyncEngineClient: ask a running engine over its Unix socket or URL.

Called by the command line and the language server. Knows HTTP and the messages only; no torch.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from types import TracebackType
from typing import Any, Self

import httpx

from engine.messages.address import EngineAddress
from engine.messages.completion import Completion, CompletionRequest
from engine.messages.endpoint import read_endpoint
from engine.messages.errors import ConnectionLostError as ConnectionLostError
from engine.messages.errors import EngineRefused as EngineRefused
from engine.messages.errors import EngineUnavailable as EngineUnavailable
from engine.messages.errors import NoEngineError as NoEngineError
from engine.messages.errors import OtherVersionError as OtherVersionError
from engine.messages.fill import Fill, FillRequest
from engine.messages.repair import Repair, RepairRequest
from engine.messages.replies import StreamAssembly, checked, checked_health, refusal
from engine.messages.replies import TextDelta as TextDelta

_CONNECT_TIMEOUT_S = 5.0
# A fresh connection per request costs some 0.4 ms, most of it httpcore's, but can never be a stale
# one that the engine closed in the meantime, and keeps no engine from leaving.
_LIMITS = httpx.Limits(max_connections=None, max_keepalive_connections=0)


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
        return checked_health(self.address, response)

    async def complete(self, request: CompletionRequest) -> Completion:
        """The whole answer. Raises EngineUnavailable or EngineRefused."""
        body = replace(request, stream=False).to_json()
        with _unavailable(self.address):
            response = await self._http.post(**_target(self.address, "/v1/completions"), json=body)
        return checked(self.address, response, Completion.from_json)

    async def fill(self, request: FillRequest) -> Fill:
        """Texts for all holes. Raises EngineUnavailable or EngineRefused."""
        target = _target(self.address, "/v1/fill")
        with _unavailable(self.address):
            response = await self._http.post(**target, json=request.to_json())
        return checked(self.address, response, Fill.from_json)

    async def repair(self, request: RepairRequest) -> Repair:
        """The selection with what was found better. Raises EngineUnavailable or EngineRefused."""
        target = _target(self.address, "/v1/repair")
        with _unavailable(self.address):
            response = await self._http.post(**target, json=request.to_json())
        return checked(self.address, response, Repair.from_json)

    async def stream(self, request: CompletionRequest) -> AsyncIterator[TextDelta | Completion]:
        """Pieces of text as they come, then the whole Completion.

        Closing the iterator early closes the connection. Raises EngineUnavailable, EngineRefused.
        """
        body = replace(request, stream=True).to_json()
        assembly = StreamAssembly(self.address)
        with _unavailable(self.address):
            target = _target(self.address, "/v1/completions")
            async with self._http.stream("POST", **target, json=body) as response:
                if response.is_error:
                    await response.aread()
                    raise refusal(response)
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
        return checked_health(self.address, response)

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
        return checked(self.address, response, Completion.from_json)

    def fill(self, request: FillRequest) -> Fill:
        """Texts for all holes. Raises EngineUnavailable or EngineRefused."""
        target = _target(self.address, "/v1/fill")
        with _unavailable(self.address):
            response = self._http.post(**target, json=request.to_json())
        return checked(self.address, response, Fill.from_json)

    def repair(self, request: RepairRequest) -> Repair:
        """The selection with what was found better. Raises EngineUnavailable or EngineRefused."""
        target = _target(self.address, "/v1/repair")
        with _unavailable(self.address):
            response = self._http.post(**target, json=request.to_json())
        return checked(self.address, response, Repair.from_json)

    def stream(self, request: CompletionRequest) -> Iterator[TextDelta | Completion]:
        """Pieces of text as they come, then the whole Completion; see AsyncEngineClient.stream."""
        body = replace(request, stream=True).to_json()
        assembly = StreamAssembly(self.address)
        with (
            _unavailable(self.address),
            self._http.stream(
                "POST", **_target(self.address, "/v1/completions"), json=body
            ) as response,
        ):
            if response.is_error:
                response.read()
                raise refusal(response)
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
