"""The scheduler at work behind a socket: several requests, one scripted engine."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest

from engine.messages.client import AsyncEngineClient, EngineRefused
from engine.messages.completion import Completion, CompletionRequest
from tests.server.scripted_engine import NUM_PIECES, WAIT_S, ScriptedEngine
from tests.server.server_harness import Harness, run_server


async def _get(queue: Any) -> Any:
    return await asyncio.to_thread(queue.get, timeout=WAIT_S)


def request(prompt: str, document: str | None = None, **wishes: Any) -> CompletionRequest:
    return CompletionRequest(prompt=prompt, document=document, client="c", **wishes)


async def start(
    harness: Harness, client: AsyncEngineClient, asked: CompletionRequest
) -> asyncio.Task[Completion]:
    """A request that has reached the queue."""
    task = asyncio.create_task(client.complete(asked))
    await _get(harness.submitted)
    return task


def was_superseded(answer: Completion) -> bool:
    return (
        {(choice.text, choice.finish_reason) for choice in answer.choices} == {("", "cancelled")}
        and answer.facts.route == "none"
        and answer.facts.route_reason == "Superseded by a newer request."
    )


def count_of(harness: Harness, name: str) -> float:
    """The value of a metric without labels, or with exactly these."""
    lines = harness.metrics.render().decode().splitlines()
    return next(float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"{name} "))


async def test_a_newer_request_is_answered_and_the_older_at_once(gated: Harness) -> None:
    engine = gated.engine
    async with AsyncEngineClient(gated.address) as client:
        running = await start(gated, client, request("older", "d", n=2))
        await _get(engine.entered)
        waiting = await start(gated, client, request("newer", "d"))
        # While its forward still runs: nobody has allowed it.
        assert was_superseded(await running)
        newest = await start(gated, client, request("newest", "d"))
        assert was_superseded(await waiting)
        engine.open_gate()
        assert (await newest).choices[0].text == "tsewen"
    assert [asked.prompt for asked in engine.requests] == ["older", "newest"]
    # The older had one forward, the one that was running.
    assert [name for (name,) in engine.passes].count("older") == 1
    assert count_of(gated, "nemodiff_superseded_total") == 2


async def test_a_superseded_stream_ends_with_what_it_has_sent(gated: Harness) -> None:
    engine = gated.engine
    async with AsyncEngineClient(gated.address) as client:
        pieces = client.stream(request("abcde", "d", stream=True))
        first = asyncio.create_task(anext(pieces))
        await _get(gated.submitted)
        await _get(engine.entered)
        engine.allow(1)
        await first
        await _get(engine.entered)
        newer = await start(gated, client, request("newer", "d"))
        engine.open_gate()
        last = [piece async for piece in pieces][-1]
        assert isinstance(last, Completion)
        assert last.choices[0].finish_reason == "cancelled"
        assert last.choices[0].text == "ed"
        assert (await newer).choices[0].text == "rewen"


async def test_documents_take_turns_between_forwards(short_path: Path) -> None:
    """Every turn costs the same here, so two documents alternate from their first forward on."""
    engine = ScriptedEngine(gated=True)
    ticks = iter(range(10**6))
    with run_server(engine, short_path, clock=lambda: float(next(ticks))) as harness:
        async with AsyncEngineClient(harness.address) as client:
            first = await start(harness, client, request("first", "a"))
            await _get(engine.entered)
            second = await start(harness, client, request("second", "b"))
            engine.open_gate()
            assert (await first).choices[0].text == "tsrif"
            assert (await second).choices[0].text == "dnoces"
    assert [name for (name,) in engine.passes] == ["first", "second"] * NUM_PIECES


async def test_speculative_work_is_paused_and_goes_on(gated: Harness) -> None:
    engine = gated.engine
    async with AsyncEngineClient(gated.address) as client:
        guess = await start(gated, client, request("guess", "a", priority="speculative"))
        await _get(engine.entered)
        asked = await start(gated, client, request("asked", "b"))
        engine.open_gate()
        assert (await asked).choices[0].text == "deksa"
        assert (await guess).choices[0].text == "sseug"
    # At most one forward of the guess, the one that ran, before the whole request.
    names = [name for (name,) in engine.passes]
    assert names == ["guess", *["asked"] * NUM_PIECES, *["guess"] * (NUM_PIECES - 1)]
    assert count_of(gated, "nemodiff_preemptions_total") == 1


async def test_speculative_requests_are_dropped_first(short_path: Path) -> None:
    engine = ScriptedEngine(gated=True)
    with run_server(engine, short_path, max_queued=1) as harness:
        async with AsyncEngineClient(harness.address) as client:
            running = await start(harness, client, request("running", "a"))
            await _get(engine.entered)
            guess = await start(harness, client, request("guess", "b", priority="speculative"))
            # Full: a second guess is answered at once with nothing, a request takes its place.
            late = await client.complete(request("late", "c", priority="speculative"))
            assert (late.choices[0].text, late.choices[0].finish_reason) == ("", "cancelled")
            assert "gave way" in late.facts.route_reason
            asked = await start(harness, client, request("asked", "d"))
            await _get(harness.submitted)
            assert "gave way" in (await guess).facts.route_reason
            with pytest.raises(EngineRefused, match="1 requests are waiting"):
                await client.complete(request("too many", "e"))
            depth = 'nemodiff_queue_depth{priority="interactive"}'
            assert count_of(harness, depth) == 1
            engine.open_gate()
            await running
            assert (await asked).choices[0].text == "deksa"
            assert count_of(harness, depth) == 0
    assert [asked.prompt for asked in engine.requests] == ["running", "asked"]


async def test_requests_share_passes(short_path: Path) -> None:
    engine = ScriptedEngine(gated=True, batch_tokens=2)
    ticks = iter(range(10**6))
    with run_server(engine, short_path, clock=lambda: float(next(ticks))) as harness:
        async with AsyncEngineClient(harness.address) as client:
            first = await start(harness, client, request("first", "a"))
            await _get(engine.entered)
            others = [await start(harness, client, request(at, at)) for at in ("other", "third")]
            engine.open_gate()
            texts = [(await task).choices[0].text for task in (first, *others)]
            assert texts == ["tsrif", "rehto", "driht"]
    # Two fit into one pass: 4 tokens at most, 2 each.
    assert max(len(names) for names in engine.passes) == 2
    assert engine.num_forwards == len(engine.passes) < 3 * NUM_PIECES
    assert sum(len(names) for names in engine.passes) == 3 * NUM_PIECES
    shared = sum(len(names) > 1 for names in engine.passes)
    assert count_of(harness, "nemodiff_batched_forwards_total") == shared > 0


async def test_a_fault_in_a_pass_fails_its_request_only(gated: Harness) -> None:
    engine = gated.engine
    async with AsyncEngineClient(gated.address) as client:
        good = await start(gated, client, request("good", "a"))
        await _get(engine.entered)
        bad = await start(gated, client, request("!fault x", "b"))
        engine.open_gate()
        with pytest.raises(EngineRefused, match="fault of its own"):
            await bad
        assert (await good).choices[0].text == "doog"
        assert (await client.complete(request("after", "b"))).choices[0].text == "retfa"


async def test_an_engine_that_breaks_in_a_pass_answers_all_of_it(short_path: Path) -> None:
    """The engine promises that what goes wrong ends one request; should it not keep that, all of
    the pass are answered, and the thread lives on."""

    class Breaking(ScriptedEngine):
        def run(self, runs: Any, /) -> None:
            if any(work.name.startswith("break") for work in runs):
                raise RuntimeError("broken")
            super().run(runs)

    with run_server(Breaking(), short_path) as harness:
        async with AsyncEngineClient(harness.address) as client:
            with pytest.raises(EngineRefused, match="fault of its own"):
                await client.complete(request("break", "a"))
            assert (await client.complete(request("on", "a"))).choices[0].text == "no"
            assert harness.thread.idle_since_s is not None


async def test_draining_finishes_what_is_there_and_refuses_the_rest(gated: Harness) -> None:
    engine = gated.engine
    async with AsyncEngineClient(gated.address) as client:
        running = await start(gated, client, request("running", "a"))
        await _get(engine.entered)
        waiting = await start(gated, client, request("waiting", "b"))
        gated.thread.drain()
        assert gated.thread.status.state == "draining"
        with pytest.raises(EngineRefused, match="about to end") as caught:
            await client.complete(request("late", "c"))
        assert caught.value.status == 503
        assert gated.thread.idle_since_s is None
        engine.open_gate()
        assert (await running).choices[0].text == "gninnur"
        assert (await waiting).choices[0].text == "gnitiaw"
        assert gated.thread.idle_since_s is not None
        assert gated.thread.status.state == "draining"


async def test_idle_means_that_nothing_waits_or_runs(short_path: Path) -> None:
    engine, may_load = ScriptedEngine(gated=True), threading.Event()

    def load(report: Any) -> ScriptedEngine:
        assert may_load.wait(WAIT_S)
        return engine

    with run_server(engine, short_path, load=load) as harness:
        thread = harness.thread
        async with AsyncEngineClient(harness.address) as client:
            assert thread.idle_since_s is None
            early = await start(harness, client, request("early", "a"))
            may_load.set()
            await _get(engine.entered)
            assert thread.idle_since_s is None
            engine.open_gate()
            await early
            since_s = thread.idle_since_s
            assert since_s is not None
            await client.health()
            assert thread.idle_since_s == since_s
            await client.complete(request("later", "a"))
            assert thread.idle_since_s is not None and thread.idle_since_s > since_s


async def test_an_engine_that_drains_while_it_loads_serves_those_who_wait(
    short_path: Path,
) -> None:
    engine, may_load = ScriptedEngine(), threading.Event()

    def load(report: Any) -> ScriptedEngine:
        assert may_load.wait(WAIT_S)
        return engine

    with run_server(engine, short_path, load=load) as harness:
        async with AsyncEngineClient(harness.address) as client:
            early = await start(harness, client, request("early", "a"))
            harness.thread.drain()
            may_load.set()
            assert (await early).choices[0].text == "ylrae"
            assert harness.thread.status.state == "draining"
            assert harness.thread.idle_since_s is not None
