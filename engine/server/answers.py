"""Answers in OpenAI's forms: JSON bodies, the error object, and server-sent event chunks.

Used by `app.py`, `intake.py` and `guard.py`; knows nothing of the queue.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from starlette.responses import Response

from engine.messages.completion import Completion
from engine.server.job import Failure

# A message may quote a field name of the client's making.
_MAX_MESSAGE_CHARACTERS = 400

STREAM_END = b"data: [DONE]\n\n"


class HttpError(Exception):
    """A request answered with an error: status, one sentence, the field at fault if any."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        field: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.field = field
        self.code = code
        self.headers = dict(headers or {})

    @classmethod
    def from_failure(cls, failure: Failure) -> HttpError:
        headers = {"Retry-After": "1"} if failure.status == 503 else {}
        return cls(
            failure.status,
            failure.message,
            field=failure.field,
            code=failure.code,
            headers=headers,
        )

    def body(self) -> dict[str, Any]:
        kind = "invalid_request_error" if self.status < 500 else "server_error"
        message = self.message
        if len(message) > _MAX_MESSAGE_CHARACTERS:
            message = message[:_MAX_MESSAGE_CHARACTERS] + "..."
        field = self.field[:_MAX_MESSAGE_CHARACTERS] if self.field else None
        return {"error": {"message": message, "type": kind, "param": field, "code": self.code}}

    def response(self) -> Response:
        return json_response(self.body(), status=self.status, headers=self.headers)


def json_response(
    body: Mapping[str, Any], *, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """`body` as JSON in ASCII, so that no text of a client's can fail to encode."""
    return Response(_dump(body), status_code=status, media_type="application/json", headers=headers)


def delta_chunk(head: Mapping[str, Any], index: int, text: str) -> bytes:
    """One event with new text of choice `index`; `head` from `chunk_head`."""
    choice = {"index": index, "text": text, "logprobs": None, "finish_reason": None}
    return _event({**head, "choices": [choice]})


def last_chunk(completion: Completion, sent: Mapping[int, str], head: Mapping[str, Any]) -> bytes:
    """The event with the text not sent yet, finish reasons, usage and facts.

    sent: text already streamed by choice. head: of the chunks before, whose id it keeps.
    Raises ValueError when `sent` is not a beginning of a choice's final text: what was shown
    cannot be taken back.
    """
    body = {**completion.to_json(), **head}
    for choice in body["choices"]:
        already = sent.get(choice["index"], "")
        if not choice["text"].startswith(already):
            raise ValueError("streamed text was withdrawn")
        choice["text"] = choice["text"][len(already) :]
    return _event(body)


def error_chunk(problem: HttpError) -> bytes:
    """The event that ends a stream which failed after its headers were sent."""
    return _event(problem.body())


def chunk_head(completion_id: str, created_s: int, model: str) -> dict[str, Any]:
    return {"id": completion_id, "object": "text_completion", "created": created_s, "model": model}


def _event(body: Mapping[str, Any]) -> bytes:
    return b"data: " + _dump(body) + b"\n\n"


def _dump(body: Mapping[str, Any]) -> bytes:
    return json.dumps(body, default=str, separators=(",", ":")).encode("ascii")
