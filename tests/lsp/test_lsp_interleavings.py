"""Random interleavings of edits, requests, cancels, answers and crashes, against an oracle.

The oracle: each request gets exactly one reply; a reply with text belongs to the version that was
asked for, and its text continues what an engine's answer began; the engine works for one request of
a document at a time, and for none once everything is over.
"""

from __future__ import annotations

import asyncio
import functools
import os
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import pytest
from fake_engine import Answer
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test
from in_process import URI, Asked, Session, draft, whole
from lsprotocol import types
from virtual_time import VirtualLoop

from nemodiff_lsp.completion.completion import Completer
from nemodiff_lsp.completion.items import inline_items
from nemodiff_lsp.documents.snapshot import Snapshot
from nemodiff_lsp.finishing.finish import Finished
from nemodiff_lsp.protocol import make_converter

T = TypeVar("T")

OTHER = "file:///project/b.txt"
START = "aa bb\naa b\nbb\n"
TEXTS = st.text(alphabet="ab \n", min_size=0, max_size=6)


class Interleavings(RuleBasedStateMachine):
    client = "tests"
    newest: Interleavings

    def __init__(self) -> None:
        super().__init__()
        self.loop = VirtualLoop()
        self.session = Session(self.client, {"prefetch": True})
        self.session.server.completer = Completer(self.session.server, clock=self.loop.time)
        self.cursors = {URI: 5, OTHER: 5}
        # Request id to the text before and after the cursor.
        self.asked: dict[int, tuple[str, str]] = {}
        self.cancelled: set[int] = set()
        self.stale: list[Snapshot] = []
        Interleavings.newest = self
        self.run(self._begin())

    async def _begin(self) -> None:
        await self.session.initialize()
        for uri in (URI, OTHER):
            self.session.open(START, uri=uri)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(work)

    def now(self, action: Callable[[], T]) -> T:
        """`action` within the running loop, which turns once or twice around it."""

        async def act() -> T:
            return action()

        return self.run(act())

    def text(self, uri: str) -> str:
        return self.session.texts[uri]

    uris = st.sampled_from([URI, URI, URI, OTHER])

    @rule(uri=uris, new=st.sampled_from(["a", "b", " ", "\n", "ab"]))
    def type(self, uri: str, new: str) -> None:
        self.now(lambda: self._type(uri, new))

    def _type(self, uri: str, new: str) -> None:
        self.cursors[uri] = self.session.type(self.cursors[uri], new, uri)

    @rule(uri=uris, count=st.integers(1, 8))
    def type_along(self, uri: str, count: int) -> None:
        """What the engine has last said there, as a user does who reads the ghost text."""
        offer = self.session.server.offers.current(uri)
        if offer is not None and offer.text:
            self.now(lambda: self._type(uri, offer.text[:count]))

    @rule(uri=uris)
    def backspace(self, uri: str) -> None:
        if (at := self.cursors[uri]) > 0:
            self.now(lambda: self.session.edit(at - 1, at, "", uri))
            self.cursors[uri] = at - 1

    @rule(uri=uris, place=st.integers(0, 30), new=TEXTS, num_gone=st.integers(0, 3))
    def edit_elsewhere(self, uri: str, place: int, new: str, num_gone: int) -> None:
        place = min(place, len(self.text(uri)))
        end = min(place + num_gone, len(self.text(uri)))
        self.now(lambda: self.session.edit(place, end, new, uri))
        at = self.cursors[uri]
        if place <= at:
            at = max(place, at - (end - place)) + len(new)
        self.cursors[uri] = min(at, len(self.text(uri)))

    @rule(uri=uris)
    def reopen(self, uri: str) -> None:
        text = self.text(uri)

        def close_and_open() -> None:
            self.session.shut(uri)
            self.session.open(text, uri=uri)

        self.now(close_and_open)

    @rule(uri=uris, is_invoked=st.booleans())
    def ask(self, uri: str, is_invoked: bool) -> None:
        self.now(lambda: self._ask(uri, is_invoked))

    @rule(uri=uris, new=st.sampled_from(["a", "b", "ab"]))
    def burst(self, uri: str, new: str) -> None:
        """Messages that arrive together, with nothing done between them."""

        def all_at_once() -> None:
            self._type(uri, new)
            self._ask(uri, False)
            self._type(uri, new)
            self._ask(uri, False)
            self._type(uri, new)

        self.now(all_at_once)

    def _ask(self, uri: str, is_invoked: bool) -> None:
        at, text = self.cursors[uri], self.text(uri)
        msg_id = self.session.ask(at, uri=uri, is_invoked=is_invoked)
        self.asked[msg_id] = (text[:at], text[at:])

    @rule(number=st.integers(0, 5))
    def cancel(self, number: int) -> None:
        waiting = [each for each in self.asked if each not in self.session.replies]
        if waiting:
            msg_id = waiting[number % len(waiting)]
            self.now(lambda: self.session.cancel(msg_id))
            self.cancelled.add(msg_id)

    @rule(number=st.integers(0, 5), text=TEXTS, kind=st.sampled_from("wwwdc"))
    def answer(self, number: int, text: str, kind: str) -> None:
        waiting = self.session.link.open
        if not waiting:
            return
        one = waiting[number % len(waiting)]
        answers = {"w": whole(text, text + "a"), "d": draft(text), "c": None}
        if one.is_open:
            self.now(lambda: give(one, answers[kind]))

    @rule(duration_ms=st.sampled_from([1, 20, 100, 300]))
    def let_time_pass(self, duration_ms: int) -> None:
        self.run(asyncio.sleep(duration_ms / 1000.0))
        self.check_replies()

    @rule(steps=st.integers(1, 12))
    def let_run(self, steps: int) -> None:
        async def some() -> None:
            for _ in range(steps):
                await asyncio.sleep(0)
            self.check_engine()

        self.run(some())
        self.check_replies()

    def check_version(self, snapshot: Snapshot) -> None:
        """Called when a reply is written that holds text."""
        if snapshot.version != self.session.versions[snapshot.uri]:
            self.stale.append(snapshot)

    def check_engine(self) -> None:
        by_document: dict[str | None, list[Asked]] = {}
        for one in self.session.link.open:
            by_document.setdefault(one.request.document, []).append(one)
        # One that is being ended and one that takes its place.
        assert all(len(each) <= 2 for each in by_document.values())

    def check_replies(self) -> None:
        assert self.stale == [], "the text had changed before the reply was written"
        for msg_id, replies in self.session.replies.items():
            assert len(replies) == 1, "exactly one reply"
            if msg_id in self.asked:
                self.check_reply(msg_id, replies[0])

    def check_reply(self, msg_id: int, reply: dict[str, Any]) -> None:
        before, after = self.asked.pop(msg_id)
        if "error" in reply:
            assert reply["error"]["code"] == -32800
            assert msg_id in self.cancelled
            return
        if not reply["result"] or not reply["result"]["items"]:
            return
        for item in reply["result"]["items"]:
            assert self.is_the_engines(before, item["insertText"], after), "nobody said that"

    def is_the_engines(self, before: str, text: str, after: str) -> bool:
        shown = before + text
        for one in self.session.link.asked:
            if one.answer is None:
                continue
            for said in one.answer.texts:
                whole_text = one.request.prompt + said
                fits = whole_text.startswith(shown) and shown.startswith(one.request.prompt)
                if fits and one.request.suffix == after:
                    return True
        return False

    def teardown(self) -> None:
        self.run(self._end())
        self.loop.close()

    async def _end(self) -> None:
        """Everything that still waits is answered, and nothing stays with the engine."""
        async with asyncio.timeout(30):
            while any(each not in self.session.replies for each in self.asked):
                for one in self.session.link.open:
                    give(one, whole("a"))
                await asyncio.sleep(0.002)
        self.check_replies()
        self.session.server.completer.close()
        await self.session.settle()
        assert self.session.link.open == []
        completer = self.session.server.completer
        assert completer.flights.is_idle
        left = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        assert left == []


def give(one: Asked, answer: Answer | None) -> None:
    if one.is_open:
        one.done.set_result(answer)


@pytest.mark.parametrize("client", ["tests", "Neovim"])
def test_every_interleaving_keeps_the_promises(
    client: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unchanged(text: str, place: object, *, is_invoked: bool, is_draft: bool) -> Finished:
        return Finished(text, None if text else "empty")

    def checked(snapshot: Snapshot, *rest: Any) -> types.InlineCompletionList:
        Interleavings.newest.check_version(snapshot)
        return inline_items(snapshot, *rest)

    monkeypatch.setattr("nemodiff_lsp.completion.inline.inline_items", checked)
    # The rules of finishing have tests of their own; here every text must be traceable.
    monkeypatch.setattr("nemodiff_lsp.finishing.finish.finish", unchanged)
    # Half a second for each server otherwise.
    monkeypatch.setattr("nemodiff_lsp.server.make_converter", functools.cache(make_converter))
    machine = type("Machine", (Interleavings,), {"client": client})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=int(os.environ.get("NEMODIFF_INTERLEAVINGS", "30")),
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
