"""A closed connection frees the engine within one forward; queues are bounded; deadlines count."""

from __future__ import annotations

import asyncio
import socket
import threading
from pathlib import Path
from typing import Any

import pytest

from engine.errors import EngineError
from engine.messages.client import AsyncEngineClient, EngineRefused
from engine.messages.completion import Completion, CompletionRequest
from tests.server.scripted_engine import WAIT_S, ScriptedEngine
from tests.server.server_harness import Harness, run_server

LONG = CompletionRequest(prompt="a prompt that takes five forwards")


async def _get(queue: Any) -> Any:
    return await asyncio.to_thread(queue.get, timeout=WAIT_S)


async def _consume(client: AsyncEngineClient, request: CompletionRequest) -> None:
    async for _ in client.stream(request):
        pass


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_cancelled_task_stops_the_engine_within_one_forward(
    gated: Harness, stream: bool
) -> None:
    engine = gated.engine
    async with AsyncEngineClient(gated.address) as client:
        work = _consume(client, LONG) if stream else client.complete(LONG)
        task = asyncio.create_task(work)
        await _get(engine.entered)
        engine.allow(1)
        await _get(engine.entered)
        # One forward is done and the second is running when the client goes.
        assert engine.num_forwards == 1
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await _get(gated.cancelled)
        engine.open_gate()
        ended = await _get(engine.finished)
        assert isinstance(ended, Completion)
        assert ended.choices[0].finish_reason == "cancelled"
        assert engine.num_forwards == 2
        # The engine is free again.
        answer = await client.complete(CompletionRequest(prompt="next"))
    assert answer.choices[0].text == "txen"
    assert b'outcome="cancelled"' in gated.metrics.render()


async def test_connection_cut_without_a_word_stops_the_engine(gated: Harness) -> None:
    """An editor that is killed closes nothing politely."""
    body = b'{"prompt": "a prompt that takes five forwards"}'
    head = b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n"
    with _connect(gated) as connection:
        connection.sendall(head % len(body) + body)
        await _get(gated.engine.entered)
    await _get(gated.cancelled)
    gated.engine.open_gate()
    ended = await _get(gated.engine.finished)
    assert ended.choices[0].finish_reason == "cancelled"
    assert gated.engine.num_forwards == 1


def _connect(harness: Harness) -> socket.socket:
    if harness.address.socket is not None:
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(str(harness.address.socket))
        return connection
    host, _, port = str(harness.address.url).removeprefix("http://").partition(":")
    return socket.create_connection((host, int(port)))


async def test_connection_cut_within_the_body_never_reaches_the_queue(harness: Harness) -> None:
    with _connect(harness) as connection:
        connection.sendall(
            b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99\r\n\r\n{"
        )
    async with AsyncEngineClient(harness.address) as client:
        await client.complete(CompletionRequest(prompt="p"))
    assert [request.prompt for request in harness.engine.requests] == ["p"]


async def test_request_cancelled_in_the_queue_never_reaches_the_engine(gated: Harness) -> None:
    engine = gated.engine
    async with AsyncEngineClient(gated.address) as client:
        first = asyncio.create_task(client.complete(CompletionRequest(prompt="first")))
        await _get(engine.entered)
        queued = asyncio.create_task(client.complete(CompletionRequest(prompt="queued")))
        await _get(gated.submitted)
        await _get(gated.submitted)
        third = asyncio.create_task(client.complete(CompletionRequest(prompt="third")))
        await _get(gated.submitted)
        queued.cancel()
        cancelled = await _get(gated.cancelled)
        assert cancelled.request.prompt == "queued"
        engine.open_gate()
        assert (await first).choices[0].text == "tsrif"
        assert (await third).choices[0].text == "driht"
    assert [request.prompt for request in engine.requests] == ["first", "third"]


async def test_cancelling_late_or_twice_does_nothing(gated: Harness) -> None:
    gated.engine.open_gate()
    async with AsyncEngineClient(gated.address) as client:
        await client.complete(CompletionRequest(prompt="done"))
        job = await _get(gated.cancelled)
        gated.thread.cancel(job)
        gated.thread.cancel(job)
        assert (await client.complete(CompletionRequest(prompt="on"))).choices[0].text == "no"


async def test_overload_is_refused_at_once_and_passes(short_path: Path) -> None:
    engine = ScriptedEngine(gated=True)
    with run_server(engine, short_path, max_queued=1) as harness:
        async with AsyncEngineClient(harness.address) as client:
            running = asyncio.create_task(client.complete(CompletionRequest(prompt="running")))
            await _get(engine.entered)
            queued = asyncio.create_task(client.complete(CompletionRequest(prompt="queued")))
            await _get(harness.submitted)
            await _get(harness.submitted)
            with pytest.raises(EngineRefused, match="busy") as caught:
                await client.complete(CompletionRequest(prompt="too many"))
            assert caught.value.status == 503
            engine.open_gate()
            assert (await running).choices[0].text == "gninnur"
            assert (await queued).choices[0].text == "deueuq"
            answer = await client.complete(CompletionRequest(prompt="later"))
    assert answer.choices[0].text == "retal"


async def test_cancelling_a_queued_request_frees_its_place(short_path: Path) -> None:
    engine = ScriptedEngine(gated=True)
    with run_server(engine, short_path, max_queued=1) as harness:
        async with AsyncEngineClient(harness.address) as client:
            running = asyncio.create_task(client.complete(CompletionRequest(prompt="running")))
            await _get(engine.entered)
            queued = asyncio.create_task(client.complete(CompletionRequest(prompt="queued")))
            await _get(harness.submitted)
            await _get(harness.submitted)
            queued.cancel()
            await _get(harness.cancelled)
            follower = asyncio.create_task(client.complete(CompletionRequest(prompt="next")))
            await _get(harness.submitted)
            engine.open_gate()
            assert (await running).choices[0].text == "gninnur"
            assert (await follower).choices[0].text == "txen"


async def test_request_waits_for_the_model_and_its_deadline_counts(short_path: Path) -> None:
    may_load = threading.Event()
    engine = ScriptedEngine()

    def load(report: Any) -> ScriptedEngine:
        report("reading weights", 0.25)
        assert may_load.wait(WAIT_S)
        return engine

    with run_server(engine, short_path, load=load) as harness:
        async with AsyncEngineClient(harness.address) as client:
            patient = asyncio.create_task(client.complete(CompletionRequest(prompt="patient")))
            hurried = CompletionRequest(prompt="hurried", deadline_ms=20, n=2)
            answer = await client.complete(hurried)
            assert [choice.text for choice in answer.choices] == ["", ""]
            assert {choice.finish_reason for choice in answer.choices} == {"deadline"}
            assert "reading weights" in answer.facts.route_reason
            health = await client.health()
            assert (health["state"], health["fraction"]) == ("loading", 0.25)
            assert not patient.done()
            may_load.set()
            assert (await patient).choices[0].text == "tneitap"
            assert (await client.health())["state"] == "ready"
    assert [request.prompt for request in engine.requests] == ["patient"]


async def test_deadline_in_the_queue_is_answered_while_another_request_runs(
    gated: Harness,
) -> None:
    async with AsyncEngineClient(gated.address) as client:
        running = asyncio.create_task(client.complete(CompletionRequest(prompt="running")))
        await _get(gated.engine.entered)
        answer = await client.complete(CompletionRequest(prompt="late", deadline_ms=20))
        assert answer.choices[0].finish_reason == "deadline"
        assert not running.done()
        gated.engine.open_gate()
        await running
    assert [request.prompt for request in gated.engine.requests] == ["running"]


async def test_failed_load_answers_those_who_wait(short_path: Path) -> None:
    may_fail = threading.Event()

    def load(report: Any) -> ScriptedEngine:
        assert may_fail.wait(WAIT_S)
        raise EngineError("The model is broken; pull it again.")

    with run_server(ScriptedEngine(), short_path, load=load) as harness:
        async with AsyncEngineClient(harness.address) as client:
            waiting = asyncio.create_task(client.complete(CompletionRequest(prompt="p")))
            await _get(harness.submitted)
            may_fail.set()
            with pytest.raises(EngineRefused, match="pull it again"):
                await waiting
            with pytest.raises(EngineRefused, match="pull it again") as caught:
                await client.complete(CompletionRequest(prompt="p"))
    assert caught.value.status == 503


async def test_stopping_answers_those_who_wait(gated: Harness) -> None:
    async with AsyncEngineClient(gated.address) as client:
        running = asyncio.create_task(client.complete(LONG))
        await _get(gated.engine.entered)
        queued = asyncio.create_task(client.complete(LONG))
        await _get(gated.submitted)
        await _get(gated.submitted)
        gated.thread.stop()
        with pytest.raises(EngineRefused, match="stopping"):
            await queued
        gated.engine.open_gate()
        assert (await running).choices[0].finish_reason == "cancelled"
        assert gated.engine.num_forwards == 1
