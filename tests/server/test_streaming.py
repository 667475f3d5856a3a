"""Streamed and whole answers: OpenAI's chunk form, both clients, several requests at a time."""

from __future__ import annotations

import asyncio
import json

import pytest

from engine.messages.client import (
    AsyncEngineClient,
    EngineClient,
    EngineRefused,
    NoEngineError,
    TextDelta,
)
from engine.messages.completion import Completion, CompletionRequest
from tests.server.scripted_engine import WAIT_S, WITHDRAW
from tests.server.server_harness import Harness


def test_whole_answer_reads_back_as_a_completion(harness: Harness) -> None:
    with EngineClient(harness.address) as client:
        completion = client.complete(CompletionRequest(prompt="abc", suffix="d", n=2))
    assert [choice.text for choice in completion.choices] == ["cba", "cba"]
    assert completion.facts.route == "fim"
    assert completion == harness.engine.finished.get(timeout=WAIT_S)


def test_stream_has_the_form_of_openai(harness: Harness) -> None:
    body = {"prompt": "0123456789", "stream": True, "n": 2}
    with harness.http() as http, http.stream("POST", "/v1/completions", json=body) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        events = [line for line in answer.iter_lines() if line]
    assert all(event.startswith("data: ") for event in events)
    assert events[-1] == "data: [DONE]"
    chunks = [json.loads(event.removeprefix("data: ")) for event in events[:-1]]
    assert len({chunk["id"] for chunk in chunks}) == 1
    assert {chunk["object"] for chunk in chunks} == {"text_completion"}
    for index in (0, 1):
        pieces = [c["text"] for k in chunks for c in k["choices"] if c["index"] == index]
        assert "".join(pieces) == "9876543210"
        assert len([piece for piece in pieces if piece]) > 1
    *pieces, last = chunks
    assert all(c["finish_reason"] is None for k in pieces for c in k["choices"])
    assert [c["finish_reason"] for c in last["choices"]] == ["stop", "stop"]
    assert last["usage"]["completion_tokens"] == 10
    assert last["nemodiff"]["mode"] == "ar"


def test_first_piece_arrives_before_the_last_forward(gated: Harness) -> None:
    """The pieces must not be held back until the end: the engine stands still after the first."""
    with EngineClient(gated.address) as client:
        stream = client.stream(CompletionRequest(prompt="0123456789"))
        gated.engine.allow(1)
        assert next(iter(stream)) == TextDelta(0, "98")
        assert gated.engine.num_forwards == 1
        gated.engine.open_gate()
        *_, completion = stream
    assert isinstance(completion, Completion)
    assert completion.choices[0].text == "9876543210"


async def test_async_stream_ends_with_the_completion(harness: Harness) -> None:
    async with AsyncEngineClient(harness.address) as client:
        items = [item async for item in client.stream(CompletionRequest(prompt="hello"))]
    deltas = [item.text for item in items if isinstance(item, TextDelta)]
    assert "".join(deltas) == "olleh"
    assert isinstance(items[-1], Completion)
    assert items[-1].choices[0].text == "olleh"


async def test_stream_that_takes_text_back_is_an_error(harness: Harness) -> None:
    async with AsyncEngineClient(harness.address) as client:
        with pytest.raises(EngineRefused, match="took back"):
            async for _ in client.stream(CompletionRequest(prompt=WITHDRAW)):
                pass


async def test_many_requests_at_once_get_their_own_answers(harness: Harness) -> None:
    async with AsyncEngineClient(harness.address) as client:
        prompts = [f"request number {number}" for number in range(20)]
        answers = await asyncio.gather(
            *(client.complete(CompletionRequest(prompt=prompt)) for prompt in prompts)
        )
    assert [answer.choices[0].text for answer in answers] == [prompt[::-1] for prompt in prompts]


async def test_health_answers_while_the_engine_works(gated: Harness) -> None:
    async with AsyncEngineClient(gated.address) as client:
        task = asyncio.create_task(client.complete(CompletionRequest(prompt="abc")))
        await asyncio.to_thread(gated.engine.entered.get, timeout=WAIT_S)
        health = await client.health()
        assert health["state"] == "ready"
        assert health["engine"]["model"] == "scripted-0.1b"
        gated.engine.open_gate()
        assert (await task).choices[0].text == "cba"


def test_refusal_reaches_the_client_with_field_and_status(harness: Harness) -> None:
    with EngineClient(harness.address) as client, pytest.raises(EngineRefused) as caught:
        client.complete(CompletionRequest(prompt="p", model="other"))
    assert (caught.value.field, caught.value.status) == ("model", 404)
    assert "scripted-0.1b" in str(caught.value)


async def test_no_engine_is_told_in_one_sentence(harness: Harness) -> None:
    address = type(harness.address).parse("/tmp/nemodiff-there-is-none.sock")
    with EngineClient(address) as client, pytest.raises(NoEngineError, match="engine start"):
        client.complete(CompletionRequest(prompt="p"))
    async with AsyncEngineClient(address) as async_client:
        with pytest.raises(NoEngineError, match="No engine listens"):
            await async_client.complete(CompletionRequest(prompt="p"))


def test_proxies_of_the_environment_are_not_asked(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with EngineClient(harness.address) as client:
        assert client.complete(CompletionRequest(prompt="ab")).choices[0].text == "ba"
