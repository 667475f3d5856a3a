"""Bad requests over a real Unix socket and a real TCP port: answered, and the engine lives on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from tests.server.scripted_engine import ENGINE_ERROR, FAULT
from tests.server.server_harness import Harness

MIB = 2**20


def _chunked(num_bytes: int) -> Iterator[bytes]:
    yield b'{"prompt": "'
    for _ in range(num_bytes // 65536):
        yield b"a" * 65536
    yield b'"}'


@dataclass(frozen=True)
class Bad:
    """A request, and the status, param and part of the message it must be answered with."""

    name: str
    status: int
    param: str | None
    message: str
    body: Any = None
    raw: Any = None
    method: str = "POST"
    path: str = "/v1/completions"
    headers: dict[str, str] = field(default_factory=dict)

    def send(self, http: httpx.Client) -> httpx.Response:
        content = self.raw() if callable(self.raw) else self.raw
        if content is None and self.body is not None:
            content = json.dumps(self.body)
        return http.request(self.method, self.path, content=content, headers=self.headers)


def _field(name: str, value: Any, message: str) -> Bad:
    title = f"{name}={value!r}"[:40]
    return Bad(title, 400, name, message, body={"prompt": "p", name: value})


BAD = [
    Bad("cut off JSON", 400, None, "not JSON", raw=b'{"prompt": '),
    Bad("empty body", 400, None, "not JSON", raw=b""),
    Bad("not UTF-8", 400, None, "not UTF-8 (byte 12)", raw=b'{"prompt": "\xff"}'),
    Bad("UTF-16", 400, None, "UTF-8", raw='{"prompt": "a"}'.encode("utf-16")),
    Bad("nested too deeply", 400, None, "nested", raw=b"[" * 200_000),
    Bad("5000 digits", 400, None, "too long", raw=b'{"prompt": "p", "seed": ' + b"9" * 5000 + b"}"),
    Bad("400 digits", 400, "top_p", "between", raw=b'{"prompt":"p","top_p":' + b"9" * 400 + b"}"),
    Bad("NaN", 400, "temperature", "between", raw=b'{"prompt": "p", "temperature": NaN}'),
    Bad("a list", 400, "body", "object", body=["prompt"]),
    Bad("no prompt", 400, "prompt", "missing", body={"suffix": "s"}),
    Bad("a surrogate", 400, "prompt", "surrogate", raw=b'{"prompt": "\\ud800"}'),
    Bad("surrogate in a name", 400, "\ud800", "not a field", raw=b'{"prompt":"p","\\ud800":1}'),
    _field("prompt", 7, "must be a string"),
    _field("suffix", ["a", "b"], "must be a string"),
    _field("max_tokens", 0, "between 1 and"),
    _field("max_tokens", 10**9, "between 1 and"),
    _field("max_tokens", "12", "whole number"),
    _field("max_tokens", True, "whole number"),
    _field("temperature", 2.5, "between 0 and 2"),
    _field("n", 99, "between"),
    _field("mode", "fast", "must be one of"),
    _field("block_size", 7, "between 8 and 32"),
    _field("confidence_threshold", 1.5, "between"),
    _field("max_denoising_steps", 0, "between"),
    _field("stop", [1], "string"),
    _field("stream", "yes", "true or false"),
    _field("deadline_ms", 0, "between"),
    _field("echo", True, "not supported"),
    _field("speed", "high", "not a field"),
    Bad("another model", 404, "model", "scripted-0.1b", body={"prompt": "p", "model": "gpt-4"}),
    Bad("4 MiB declared", 413, None, "4 MiB", raw=b"a" * (4 * MIB + 1)),
    Bad("5 MiB chunked", 413, None, "4 MiB", raw=lambda: _chunked(5 * MIB)),
    Bad("compressed", 415, None, "uncompressed", raw=b"x", headers={"Content-Encoding": "gzip"}),
    Bad("unknown path", 404, None, "Unknown path", path="/v1/chat/completions"),
    Bad("slash at the end", 404, None, "Unknown path", path="/health/", method="GET"),
    Bad("GET completions", 405, None, "takes POST", method="GET"),
    Bad("POST health", 405, None, "takes GET", path="/health", body={}),
    Bad("DELETE metrics", 405, None, "takes GET", path="/metrics", method="DELETE"),
    Bad("engine says no", 500, None, "does not fit", body={"prompt": ENGINE_ERROR}),
    Bad("engine breaks", 500, None, "fault of its own", body={"prompt": FAULT + "canary"}),
    Bad("breaks in a stream", 500, None, "fault", body={"prompt": FAULT, "stream": True}),
]


@pytest.mark.parametrize("bad", BAD, ids=[bad.name for bad in BAD])
def test_bad_request_is_answered_and_the_engine_lives_on(shared: Harness, bad: Bad) -> None:
    num_before = len(shared.engine.requests)
    with shared.http() as http:
        answer = bad.send(http)
        assert answer.status_code == bad.status
        error = answer.json()["error"]
        assert set(error) == {"message", "type", "param", "code"}
        assert bad.message in error["message"]
        assert error["param"] == bad.param
        assert "canary" not in answer.text
        assert error["type"] == ("server_error" if bad.status >= 500 else "invalid_request_error")
        good = http.post("/v1/completions", json={"prompt": "still here"})
    assert good.status_code == 200
    assert good.json()["choices"][0]["text"] == "ereh llits"
    # A refusal never costs the model anything.
    if bad.status < 500:
        reached = shared.engine.requests[num_before:]
        assert [request.prompt for request in reached] == ["still here"]


def test_model_may_be_named_by_any_of_its_names_or_null(shared: Harness) -> None:
    with shared.http() as http:
        for name in ("scripted-0.1b", "scripted", None):
            answer = http.post("/v1/completions", json={"prompt": "p", "model": name})
            assert answer.status_code == 200
        assert http.get("/v1/models").json()["data"][0]["id"] == "scripted-0.1b"


def test_a_body_of_exactly_four_mib_is_read(shared: Harness) -> None:
    frame = b'{"prompt": "%s"}'
    body = frame % (b"a" * (4 * MIB - len(frame) + 2))
    assert len(body) == 4 * MIB
    with shared.http() as http:
        assert http.post("/v1/completions", content=body).status_code == 200


PAGES = [
    ({"Origin": "https://evil.example"}, 403),
    ({"Origin": "null"}, 403),
    ({"Host": "evil.example"}, 403),
    ({"Host": "localhost.evil.example:8712"}, 403),
    ({"Host": "127.0.0.1.evil.example"}, 403),
    ({"Host": "192.168.1.7"}, 403),
    ({"Host": "localhost:1234"}, 200),
    ({"Host": "[::1]:8712"}, 200),
    ({"Host": "LOCALHOST"}, 200),
]


@pytest.mark.parametrize("shared", ["tcp"], indirect=True)
@pytest.mark.parametrize(("headers", "status"), PAGES)
def test_web_pages_are_kept_out_on_tcp(
    shared: Harness, headers: dict[str, str], status: int
) -> None:
    num_before = len(shared.engine.requests)
    with shared.http() as http:
        for method, path in (("GET", "/health"), ("POST", "/v1/completions")):
            answer = http.request(method, path, headers=headers, content=b'{"prompt": "p"}')
            assert answer.status_code == status
            if status == 403:
                assert answer.json()["error"]["message"]
    assert len(shared.engine.requests) - num_before == (status == 200)
