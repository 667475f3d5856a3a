"""What an engine answers, turned into messages and errors. Used by `client.py`."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import httpx

from engine.messages.address import PROTOCOL_VERSION, EngineAddress
from engine.messages.completion import Completion
from engine.messages.errors import EngineRefused, EngineUnavailable, OtherVersionError

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class TextDelta:
    """Text that continues choice `index` of a streamed answer."""

    index: int
    text: str


class StreamAssembly:
    """Turns the lines of a server-sent event stream into deltas and the final Completion."""

    def __init__(self, address: EngineAddress) -> None:
        self._address = address
        self._texts: dict[int, str] = {}
        self._last: dict[str, Any] | None = None
        self._ended = False

    def feed(self, line: str) -> Iterator[TextDelta]:
        """The deltas of one line. Raises EngineRefused, EngineUnavailable."""
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
        """The whole answer. Raises EngineUnavailable when it is not there."""
        if not self._ended or self._last is None:
            raise EngineUnavailable(f"The engine at {self._address} broke off its answer.")
        choices = [{**c, "text": self._texts[c["index"]]} for c in self._last["choices"]]
        return Completion.from_json({**self._last, "choices": choices})


def checked_health(address: EngineAddress, response: httpx.Response) -> dict[str, Any]:
    """The body of /health. Raises EngineUnavailable, OtherVersionError."""
    if response.status_code in (401, 403):
        raise EngineUnavailable(f"The engine at {address} refuses us: {refusal(response)}")
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


def checked(
    address: EngineAddress, response: httpx.Response, parse: Callable[[dict[str, Any]], Answer]
) -> Answer:
    """The body as a message. Raises EngineRefused, EngineUnavailable."""
    if response.is_error:
        raise refusal(response)
    try:
        return parse(response.json())
    except (ValueError, KeyError, TypeError):
        raise _foreign_answer(address) from None


def refusal(response: httpx.Response) -> EngineRefused:
    """The error that the engine has answered with."""
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
