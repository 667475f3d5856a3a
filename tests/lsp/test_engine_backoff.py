"""Backoff: how long an engine that keeps failing is left alone."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from nemodiff_lsp.link.backoff import Backoff


class Clock:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def test_failed_starts_double_the_pause_up_to_a_minute() -> None:
    backoff = Backoff(Clock())
    pauses = []
    for _ in range(9):
        backoff.note_start_failed()
        pauses.append(backoff.pause_s)
    assert pauses == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0, 60.0]


def test_the_first_crash_costs_no_pause_the_next_ones_do() -> None:
    backoff = Backoff(Clock())
    pauses = []
    for _ in range(5):
        backoff.note_ready()
        backoff.note_crash()
        pauses.append(backoff.pause_s)
    assert pauses == [0.0, 1.0, 2.0, 4.0, 8.0]


def test_an_engine_that_answers_has_proved_itself() -> None:
    backoff = Backoff(Clock())
    for _ in range(50):
        backoff.note_ready()
        backoff.note_answer()
        backoff.note_crash()
        assert backoff.pause_s == 0.0


def test_a_stable_minute_proves_it_too() -> None:
    clock = Clock()
    backoff = Backoff(clock)
    for _ in range(4):
        backoff.note_start_failed()
    for stable_s, pause_s in ((59.0, 8.0), (60.0, 0.0)):
        backoff.note_ready()
        clock.now_s += stable_s
        backoff.note_crash()
        assert backoff.pause_s == pause_s


@given(st.lists(st.sampled_from(["ready", "answer", "failed", "crash", "wait"]), max_size=200))
def test_a_pause_is_never_longer_than_a_minute_and_always_ends(events: list[str]) -> None:
    clock = Clock()
    backoff = Backoff(clock)
    for event in events:
        if event == "wait":
            clock.now_s += 7.0
        else:
            name = {"failed": "start_failed"}.get(event, event)
            getattr(backoff, f"note_{name}")()
        assert 0.0 <= backoff.pause_s <= 60.0
        if event == "answer":
            assert backoff.num_failures == 0 == backoff.pause_s
    clock.now_s += 60.0
    assert backoff.pause_s == 0.0
