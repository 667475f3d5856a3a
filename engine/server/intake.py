"""From bytes on a connection to a request of some kind, or to a 4xx that names what is wrong.

Called by `app.py` for everything that the engine is asked for.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import TypeVar

from starlette.requests import Request
from starlette.types import Receive

from engine.messages.fields import FieldError
from engine.server.answers import HttpError

MAX_BODY_BYTES = 4 * 2**20
# After a refusal the rest of the body is thrown away up to this size and time, because a
# connection that closes with unread bytes is reset and may take the answer with it.
_MAX_DRAINED_BYTES = 16 * 2**20
_MAX_DRAIN_S = 2.0

Asked = TypeVar("Asked")


class ClientGoneError(Exception):
    """The connection closed before the request was complete."""


async def read_request(request: Request, parse: Callable[[object], Asked]) -> Asked:
    """Read and validate the body. parse: from decoded JSON, may raise FieldError. Raises HttpError
    or ClientGoneError."""
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise HttpError(415, "Content-Encoding: send the body uncompressed.")
    return parse_request(await _read_body(request), parse)


def parse_request(body: bytes, parse: Callable[[object], Asked]) -> Asked:
    """Validate a body. Raises HttpError 400 with the field at fault."""
    try:
        decoded = json.loads(body.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise HttpError(400, f"The body is not UTF-8 (byte {error.start}).") from None
    except json.JSONDecodeError as error:
        raise HttpError(
            400, f"The body is not JSON ({error.msg} at character {error.pos})."
        ) from None
    except RecursionError:
        raise HttpError(400, "The body is not usable JSON (nested too deeply).") from None
    except ValueError:
        # Python refuses to read integers of several thousand digits.
        raise HttpError(400, "The body is not usable JSON (a number is too long).") from None
    try:
        return parse(decoded)
    except FieldError as error:
        raise HttpError(400, str(error), field=error.field) from None
    except OverflowError:
        raise HttpError(400, "The body holds a number that is too large.") from None


async def _read_body(request: Request) -> bytes:
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > MAX_BODY_BYTES:
        raise _too_large()
    body = bytearray()
    while True:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientGoneError
        body += message.get("body", b"")
        # A chunked body has no declared length, so it is counted while it comes.
        if len(body) > MAX_BODY_BYTES:
            raise _too_large()
        if not message.get("more_body", False):
            return bytes(body)


def _too_large() -> HttpError:
    return HttpError(
        413,
        f"The body is larger than {MAX_BODY_BYTES // 2**20} MiB; send less text around the cursor.",
        headers={"Connection": "close"},
    )


async def drain(receive: Receive) -> None:
    """Throw away what a refused client still sends, within limits of size and time."""
    num_bytes = 0
    try:
        async with asyncio.timeout(_MAX_DRAIN_S):
            while num_bytes <= _MAX_DRAINED_BYTES:
                message = await receive()
                num_bytes += len(message.get("body", b""))
                if message["type"] == "http.disconnect" or not message.get("more_body", False):
                    return
    except TimeoutError:
        return
