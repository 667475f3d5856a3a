"""Whose forward comes next: newest first within a document, shares between them, priorities."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.messages.fill import FillRequest
from engine.server.job import Job
from engine.server.scheduler import QueueLimits, Scheduler
from engine.server.shares import Shares
from tests.server.scheduling import FixedWork, SameThreadLoop, job_of

SPECULATIVE: dict[str, Any] = {"priority": "speculative"}


def admitted(scheduler: Scheduler, *jobs: Job) -> None:
    for job in jobs:
        assert scheduler.admit(job).is_admitted


def turn(scheduler: Scheduler, *, joinable: int = 0, cost: float = 1.0) -> list[Job]:
    """One turn: pick, begin what was not begun, charge."""
    picked = scheduler.pick(max_batch_tokens=8)
    for job in picked:
        if job.work is None:
            scheduler.start(job)
            job.work = FixedWork(joinable)
    if picked:
        scheduler.charge(picked, cost)
    return picked


def test_one_request_runs_to_its_end() -> None:
    scheduler = Scheduler(QueueLimits())
    job = job_of("c", "d")
    admitted(scheduler, job)
    assert scheduler.num_waiting("interactive") == 1
    assert [turn(scheduler) for _ in range(3)] == [[job]] * 3
    assert scheduler.num_waiting() == 0 and scheduler.active == [job]
    scheduler.remove(job)
    assert not scheduler.has_work and scheduler.pick(8) == []


def test_documents_of_a_client_take_turns() -> None:
    scheduler = Scheduler(QueueLimits())
    jobs = [job_of("c", f"d{at}") for at in range(3)]
    admitted(scheduler, *jobs)
    assert [turn(scheduler)[0] for _ in range(6)] == [*jobs, *jobs]


def test_a_client_with_many_documents_gets_no_more_than_another() -> None:
    scheduler = Scheduler(QueueLimits())
    many, one = [job_of("many", f"d{at}") for at in range(5)], job_of("one", "d")
    admitted(scheduler, *many, one)
    served = Counter(turn(scheduler)[0].client for _ in range(40))
    assert served == {"many": 20, "one": 20}


def test_shares_are_of_cost_not_of_turns() -> None:
    """A prefill chunk is worth many decoding forwards."""
    scheduler = Scheduler(QueueLimits())
    long, short = job_of("long", "d"), job_of("short", "e")
    admitted(scheduler, long, short)
    served: Counter[str | None] = Counter()
    for _ in range(44):
        job = scheduler.pick(8)[0]
        if job.work is None:
            scheduler.start(job)
            job.work = FixedWork()
        scheduler.charge([job], 10.0 if job is long else 1.0)
        served[job.client] += 1
    assert served == {"long": 4, "short": 40}


def test_who_comes_back_neither_owns_nor_owes_the_past() -> None:
    scheduler = Scheduler(QueueLimits())
    steady, guest = job_of("steady", "d"), job_of("guest", "e")
    admitted(scheduler, steady)
    for _ in range(100):
        turn(scheduler)
    admitted(scheduler, guest)
    served = Counter(turn(scheduler)[0].client for _ in range(20))
    assert served == {"steady": 10, "guest": 10}


def test_short_requests_in_a_row_do_not_outrun_a_long_one() -> None:
    """Each new request of a client goes on with the share that the last one has used."""
    scheduler = Scheduler(QueueLimits())
    long = job_of("long", "d")
    admitted(scheduler, long)
    served: Counter[str | None] = Counter()
    short = job_of("short", "e")
    admitted(scheduler, short)
    for _ in range(60):
        job = turn(scheduler)[0]
        served[job.client] += 1
        if job.client == "short":
            scheduler.remove(job)
            admitted(scheduler, job_of("short", "e"))
    assert served == {"long": 30, "short": 30}


def test_the_newest_request_of_a_document_supersedes_the_older() -> None:
    scheduler = Scheduler(QueueLimits())
    running, waiting, newest = [job_of("c", "d", prompt=text) for text in "abc"]
    other_client, other_document, nameless = job_of("x", "d"), job_of("c", "e"), job_of("c")
    admitted(scheduler, running, other_client, other_document, nameless)
    assert turn(scheduler) == [running]
    assert scheduler.admit(waiting).superseded == [running]
    assert scheduler.admit(newest).superseded == [waiting]
    assert running.is_cancelled and waiting.is_cancelled
    assert not scheduler.is_waiting(waiting)
    # The one in work is ended by the engine, before anything else is done.
    assert scheduler.pick(8) == []
    scheduler.remove(running)
    for job in (other_client, other_document, nameless, newest):
        assert not job.is_cancelled
    picked = [turn(scheduler)[0] for _ in range(12)]
    # One request of a document at a time: the other client's comes when the first has ended.
    owners = {job for job in picked if job.document == "d"}
    assert len(owners) == 1
    scheduler.remove(owners.pop())
    picked += [turn(scheduler)[0] for _ in range(12)]
    assert set(picked) == {other_client, other_document, nameless, newest}


def test_a_guess_never_supersedes_what_was_asked_for() -> None:
    scheduler = Scheduler(QueueLimits())
    asked, guess = job_of("c", "d"), job_of("c", "d", **SPECULATIVE)
    admitted(scheduler, asked)
    assert scheduler.admit(guess).superseded == []
    assert turn(scheduler) == [asked]
    scheduler.remove(asked)
    assert turn(scheduler) == [guess]
    # A newer guess does, and so does a request, whoever asks.
    newer = job_of("c", "d", **SPECULATIVE)
    assert scheduler.admit(newer).superseded == [guess]
    scheduler.remove(guess)
    assert turn(scheduler) == [newer]
    assert scheduler.admit(job_of("somebody else", "d")).superseded == [newer]


def test_a_keystroke_does_not_cancel_a_fill() -> None:
    """Filling holes was asked for by a command; a completion of the same document waits for it."""
    scheduler = Scheduler(QueueLimits())
    request = FillRequest(pieces=("a", "b"), document="d", client="c")
    fill = Job(request, 0.0, SameThreadLoop())  # type: ignore[arg-type]
    completion = job_of("c", "d")
    admitted(scheduler, fill)
    assert turn(scheduler) == [fill]
    assert scheduler.admit(completion).superseded == []
    assert turn(scheduler) == [fill]
    scheduler.remove(fill)
    assert turn(scheduler) == [completion]


def test_speculative_work_runs_only_while_nothing_interactive_waits() -> None:
    scheduler = Scheduler(QueueLimits())
    guess, asked = job_of("c", "d", **SPECULATIVE), job_of("x", "e")
    admitted(scheduler, guess)
    assert turn(scheduler) == [guess]
    admitted(scheduler, asked)
    assert [turn(scheduler) for _ in range(5)] == [[asked]] * 5
    # It is paused, not ended, and goes on afterwards.
    assert scheduler.active == [guess, asked] and not guess.is_cancelled
    assert scheduler.take_preemptions() == 1 and scheduler.take_preemptions() == 0
    scheduler.remove(asked)
    assert turn(scheduler) == [guess]


def test_speculative_use_is_not_held_against_a_client() -> None:
    scheduler = Scheduler(QueueLimits())
    guess = job_of("eager", "d", **SPECULATIVE)
    admitted(scheduler, guess)
    for _ in range(50):
        turn(scheduler)
    admitted(scheduler, job_of("eager", "e"), job_of("modest", "f"))
    served = Counter(turn(scheduler)[0].client for _ in range(10))
    assert served == {"eager": 5, "modest": 5}


def test_decoding_requests_share_a_pass_while_it_is_short() -> None:
    scheduler = Scheduler(QueueLimits())
    jobs = [job_of("c", f"d{at}") for at in range(4)]
    admitted(scheduler, *jobs)
    # Nothing is known of a request before it was begun.
    assert [turn(scheduler, joinable=3) for _ in range(3)] == [[job] for job in jobs[:3]]
    # At most 8 tokens: two of 3. The one that waits is next by its share.
    assert turn(scheduler, joinable=0) == [jobs[3]]
    assert turn(scheduler) == jobs[:2]
    assert set(turn(scheduler)) == {jobs[0], jobs[2]}
    # A prefill shares with nobody.
    for job in jobs:
        job.work = FixedWork(0)
    assert all(len(turn(scheduler)) == 1 for _ in range(4))


def test_interactive_and_speculative_work_share_no_pass() -> None:
    scheduler = Scheduler(QueueLimits())
    guesses = [job_of("c", f"d{at}", **SPECULATIVE) for at in range(2)]
    admitted(scheduler, *guesses)
    for _ in range(2):
        turn(scheduler, joinable=1)
    assert set(turn(scheduler)) == set(guesses)
    asked = job_of("c", "e")
    admitted(scheduler, asked)
    assert turn(scheduler, joinable=1) == [asked]
    assert turn(scheduler) == [asked]


def test_requests_in_work_are_bounded() -> None:
    """Each has its KV; the others wait for one to end."""
    scheduler = Scheduler(QueueLimits(max_active=2, max_active_speculative=1))
    jobs = [job_of("c", f"d{at}") for at in range(4)]
    guesses = [job_of("c", f"g{at}", **SPECULATIVE) for at in range(3)]
    admitted(scheduler, *jobs, *guesses)
    assert {turn(scheduler)[0] for _ in range(10)} == set(jobs[:2])
    scheduler.remove(jobs[0])
    assert {turn(scheduler)[0] for _ in range(10)} == set(jobs[1:3])
    for job in jobs[1:]:
        scheduler.remove(job)
    assert {turn(scheduler)[0] for _ in range(10)} == {guesses[0]}


def test_too_many_are_refused_and_speculative_ones_give_way() -> None:
    scheduler = Scheduler(QueueLimits(max_queued=3))
    guess = job_of("a", "g", **SPECULATIVE)
    jobs = [job_of("a", f"d{at}") for at in range(2)]
    admitted(scheduler, guess, *jobs)
    # A speculative request that comes late is dropped, an interactive one takes a guess's place.
    late = job_of("b", "h", **SPECULATIVE)
    assert scheduler.admit(late).dropped == [late]
    assert not scheduler.is_waiting(late)
    asked = job_of("b", "d")
    assert scheduler.admit(asked).dropped == [guess]
    assert scheduler.is_waiting(asked) and not scheduler.is_waiting(guess)
    refused = scheduler.admit(job_of("b", "e"))
    assert not refused.is_admitted and not refused.dropped
    # A newer request of a waiting document needs no room of its own.
    newer = scheduler.admit(job_of("b", "d"))
    assert newer.is_admitted and newer.superseded == [asked]


def test_one_client_cannot_fill_the_queue() -> None:
    scheduler = Scheduler(QueueLimits(max_queued=8, max_queued_per_client=2))
    admitted(scheduler, job_of("greedy", "a"), job_of("greedy", "b"))
    admitted(scheduler, job_of("x", "g", **SPECULATIVE))
    # The others' guesses do not pay for it.
    assert not scheduler.admit(job_of("greedy", "c")).is_admitted
    assert scheduler.admit(job_of("modest", "c")).is_admitted
    # Those without a name may be many.
    admitted(scheduler, *[job_of() for _ in range(4)])
    assert scheduler.num_waiting() == 8


def test_shares_forget_who_is_level_with_the_others() -> None:
    """Clients come and go for weeks."""
    shares = Shares()
    shares.enter("steady")
    for number in range(1000):
        shares.enter(number)
        shares.charge(number, 1.0)
        shares.charge("steady", 1.0)
        shares.leave(number)
    assert len(shares) < 5
    shares.leave("steady")
    assert len(shares) == 0


CLIENTS, DOCUMENTS = st.sampled_from(["a", "b", "c"]), st.sampled_from(["d", "e", "f", None])
ACTIONS = st.one_of(
    st.tuples(st.just("submit"), CLIENTS, DOCUMENTS, st.booleans()),
    st.tuples(st.just("turn"), st.integers(0, 4), st.floats(0.1, 5.0)),
    st.tuples(st.just("end"), st.integers(0, 9)),
    st.tuples(st.just("withdraw"), st.integers(0, 9)),
)


@given(st.lists(ACTIONS, max_size=60))
def test_any_history_keeps_the_rules(actions: list[Any]) -> None:
    scheduler = Scheduler(QueueLimits(max_queued=6, max_queued_per_client=4, max_active=3))
    waiting: list[Job] = []
    for action, *arguments in actions:
        if action == "submit":
            client, document, is_guess = arguments
            job = job_of(client, document, priority="speculative" if is_guess else "interactive")
            admission = scheduler.admit(job)
            gone = {*admission.superseded, *admission.dropped}
            waiting = [other for other in waiting if other not in gone]
            if admission.is_admitted and job not in gone:
                waiting.append(job)
        elif action == "turn":
            take_turn_by_the_rules(scheduler, waiting, *arguments)
        elif action == "end" and scheduler.active:
            scheduler.remove(scheduler.active[arguments[0] % len(scheduler.active)])
        elif action == "withdraw" and waiting:
            scheduler.remove(waiting.pop(arguments[0] % len(waiting)))
        assert scheduler.num_waiting() == len(waiting) <= 6
        assert scheduler.has_work == bool(waiting or scheduler.active)
    # Whatever happened, everything that is left comes to its turn.
    for job in [job for job in scheduler.active if job.is_cancelled]:
        scheduler.remove(job)
    while scheduler.has_work:
        picked = take_turn_by_the_rules(scheduler, waiting, 0, 1.0)
        assert picked
        scheduler.remove(picked[0])
    assert all(scheduler.num_waiting(each) == 0 for each in ("interactive", "speculative"))


def take_turn_by_the_rules(
    scheduler: Scheduler, waiting: list[Job], joinable: int, cost: float
) -> list[Job]:
    everybody = [*waiting, *scheduler.active]
    has_interactive = any(not job.is_speculative for job in everybody)
    is_held_up = any(job.is_cancelled for job in scheduler.active)
    picked = turn(scheduler, joinable=joinable, cost=cost)
    assert bool(picked) == (bool(everybody) and not is_held_up)
    for job in picked:
        assert not job.is_cancelled
        assert not (has_interactive and job.is_speculative)
        if job in waiting:
            waiting.remove(job)
    owners = [job.document for job in scheduler.active if job.document is not None]
    assert len(owners) == len(set(owners))
    return picked


@pytest.mark.parametrize("num_clients", [2, 5, 16])
def test_fairness_over_many_turns(num_clients: int) -> None:
    """64 documents: no client is ever ahead of another by more than its dearest turn."""
    scheduler = Scheduler(QueueLimits(max_queued_per_client=64, max_active=64))
    jobs = [job_of(f"c{at % num_clients}", f"d{at}") for at in range(64)]
    admitted(scheduler, *jobs)
    costs: Counter[str | None] = Counter()
    for number in range(4000):
        cost = 1.0 + (number * 7919 % 10)
        job = turn(scheduler, cost=cost)[0]
        costs[job.client] += cost  # type: ignore[assignment]
        if number > 64:
            assert max(costs.values()) - min(costs.values()) <= 2 * 10.0
