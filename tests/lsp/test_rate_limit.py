"""The bound on requests per second: deadlines include the wait, work ahead takes nobody's place."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from in_process import Session, whole
from test_reuse_parts import snapshot
from virtual_time import VirtualLoop

from engine.messages.completion import Completion, CompletionRequest
from nemodiff_lsp.completion.pacing import Pacer
from nemodiff_lsp.reuse.flights import Flight, Flights, Purpose


class Engine:
    """Notes each request with the time at which it comes, and never answers."""

    def __init__(self, loop: VirtualLoop, *, requests_per_s: float = 2.0) -> None:
        self._loop = loop
        self.asked: list[tuple[float, str, float | None]] = []
        self.pacer = Pacer(requests_per_s=requests_per_s, clock=loop.time)
        self.flights = Flights(self._ask, self.pacer, lambda *_: None, loop.time)

    async def _ask(self, request: CompletionRequest) -> Completion | None:
        # The limit looks every 10 ms.
        elapsed_s = round(self._loop.time() - 1_000.0, 1)
        left_ms = request.deadline_ms
        left_ms = left_ms if left_ms is None else round(left_ms, -2)
        self.asked.append((elapsed_s, request.prompt, left_ms))
        await asyncio.sleep(3_600)
        return None

    def launch(
        self, name: str, purpose: Purpose = "asked", *, deadline_ms: float | None = 60_000.0
    ) -> Flight:
        place = replace(snapshot(name, ""), key=name)
        request = CompletionRequest(prompt=name, deadline_ms=deadline_ms)
        return self.flights.launch(
            Flight(place=place, request=request, purpose=purpose, scope="", is_invoked=False)
        )

    @property
    def order(self) -> list[tuple[float, str]]:
        return [(at_s, name) for at_s, name, _ in self.asked]


def follow(patch: pytest.MonkeyPatch, loop: VirtualLoop) -> None:
    """Let the limit go by the clock of `loop`."""
    clock = SimpleNamespace(monotonic=loop.time)
    patch.setattr("asyncio_throttle.throttler.time", clock)
    patch.setattr("nemodiff_lsp.completion.pacing.time", clock)


@pytest.fixture
def loop(monkeypatch: pytest.MonkeyPatch) -> Iterator[VirtualLoop]:
    found = VirtualLoop()
    follow(monkeypatch, found)
    yield found
    for task in asyncio.all_tasks(found):
        task.cancel()
    found.run_until_complete(asyncio.sleep(0))
    found.close()


def test_no_more_requests_than_the_limit_go_out_in_a_second(loop: VirtualLoop) -> None:
    engine = Engine(loop)

    async def type_in_five_documents() -> None:
        for name in "abcde":
            engine.launch(name)
        await asyncio.sleep(10)

    loop.run_until_complete(type_in_five_documents())
    assert engine.order == [(0.0, "a"), (0.0, "b"), (1.0, "c"), (1.0, "d"), (2.0, "e")]


def test_the_engine_gets_what_the_wait_has_left_of_the_deadline(loop: VirtualLoop) -> None:
    engine = Engine(loop)

    async def ask() -> Flight:
        for name in "abcd":
            engine.launch(name, deadline_ms=None if name == "d" else 1_500.0)
        late = engine.launch("e", deadline_ms=1_500.0)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert late.task.done(), "at once: its turn would come after two seconds"
        await asyncio.sleep(10)
        return late

    late = loop.run_until_complete(ask())
    assert engine.asked == [
        (0.0, "a", 1_500.0),
        (0.0, "b", 1_500.0),
        (1.0, "c", 500.0),
        (1.0, "d", None),
    ]
    assert late.result() is None and "maxRequestsPerSecond" in late.refusal
    assert late.started_s is None


def test_work_ahead_is_dropped_without_room_and_takes_nobodys_place(loop: VirtualLoop) -> None:
    engine = Engine(loop)

    async def work() -> None:
        kinds: tuple[Purpose, ...] = ("speculation", "refinement", "prefetch")
        ahead = [engine.launch(kind[0], kind) for kind in kinds]
        await asyncio.sleep(0)
        # What is dropped does not end what is in flight there already.
        for name in "sr":
            assert engine.launch(name, "speculation").result() is None
        assert [each.task.done() for each in ahead] == [False, False, True]
        engine.launch("a")
        engine.launch("b")
        await asyncio.sleep(0.5)
        assert not ahead[0].task.done() and engine.flights.of(ahead[0].place.key) is ahead[0]
        engine.launch("c")
        await asyncio.sleep(0.6)
        engine.launch("x", "speculation")
        await asyncio.sleep(10)

    loop.run_until_complete(work())
    at_once = [(0.0, "s"), (0.0, "r"), (0.0, "a"), (0.0, "b")]
    assert engine.order == [*at_once, (1.0, "c"), (1.1, "x")]


def test_a_newer_request_takes_the_place_of_the_one_that_waited(loop: VirtualLoop) -> None:
    engine = Engine(loop)

    async def type_fast() -> None:
        for name in "ab":
            engine.launch(name)
        for _ in range(20):
            engine.launch("c")
            await asyncio.sleep(0.01)
        engine.launch("d")
        await asyncio.sleep(10)

    loop.run_until_complete(type_fast())
    assert engine.order == [(0.0, "a"), (0.0, "b"), (1.0, "c"), (1.0, "d")]


@given(
    steps=st.lists(
        st.tuples(st.floats(0, 0.7), st.sampled_from("abcd"), st.booleans()), max_size=40
    ),
    limit=st.integers(1, 4),
)
def test_real_requests_keep_to_the_limit_and_are_never_later_for_work_ahead(
    steps: list[tuple[float, str, bool]], limit: int
) -> None:
    def run(*, is_ahead: bool) -> list[tuple[float, str]]:
        loop = VirtualLoop()
        engine = Engine(loop, requests_per_s=limit)
        patch = pytest.MonkeyPatch()
        follow(patch, loop)

        async def work() -> None:
            for wait_s, name, is_real in steps:
                await asyncio.sleep(wait_s)
                if is_real:
                    engine.launch(name)
                elif is_ahead:
                    engine.launch(f"ahead of {name}", "speculation")
            await asyncio.sleep(100)
            engine.flights.cancel_all()
            await asyncio.sleep(0)

        loop.run_until_complete(work())
        loop.close()
        patch.undo()
        return [each for each in engine.order if each[1] in "abcd"]

    real = run(is_ahead=False)
    assert run(is_ahead=True) == real
    times = [at_s for at_s, _ in real]
    for first, later in zip(times, times[limit:], strict=False):
        assert later - first >= 1.0 - 0.11, "rounded to tenths"


async def test_a_request_beyond_the_limit_is_answered_with_the_reason() -> None:
    options = {"maxRequestsPerSecond": 0.1, "deadlineMs": 2_000, "reuse": False}
    session = Session(options=options, default=whole("pass"))
    await session.initialize()
    session.open("x = ")
    assert await session.texts_at(4) == ["pass"]
    assert await session.texts_at(4) == []
    assert "maxRequestsPerSecond" in session.server.why.last(None)
    assert await session.texts_at(4, is_invoked=True) == ["pass"], "what a key asks for goes"
    assert len(session.link.asked) == 2
