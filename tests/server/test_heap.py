"""Freed memory goes back to the system now and then, where the C library can do it."""

from __future__ import annotations

import ctypes
import queue

import pytest

from engine.messages.client import EngineClient
from engine.messages.completion import CompletionRequest
from engine.server.heap import NUM_REQUESTS, Heap
from tests.server.server_harness import Harness


def test_after_so_many_requests_and_not_before() -> None:
    calls: list[int] = []
    heap = Heap(lambda: calls.append(1))
    for number in range(1, 3 * NUM_REQUESTS):
        heap.note_end()
        assert len(calls) == number // NUM_REQUESTS


def test_a_c_library_that_cannot_is_none_the_worse(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    heap = Heap()
    for _ in range(NUM_REQUESTS):
        heap.note_end()


def test_the_engine_counts_every_request(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: queue.Queue[Heap] = queue.Queue()
    monkeypatch.setattr(Heap, "note_end", lambda heap: calls.put(heap))
    with EngineClient(harness.address) as client:
        for _ in range(3):
            client.complete(CompletionRequest(prompt="ab", document="d"))
    # Counted behind the answer, which does not wait for it.
    heaps = [calls.get(timeout=60) for _ in range(3)]
    assert calls.empty() and len(set(map(id, heaps))) == 1
