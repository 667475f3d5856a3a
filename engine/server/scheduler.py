"""Scheduler: which requests are in work, which wait, and whose forward comes next.

Owned by `engine_thread.EngineThread`, which locks it; holds no thread, clock or model of its own.

- The newest request of a client for a document supersedes its older ones. Of one document only one
  request is in work at a time, as its KV has one owner.
- Interactive before speculative: that runs only while nothing interactive waits. It is paused
  between two forwards, with its KV, when something interactive comes; and dropped first when there
  is too much.
- Clients share the engine fairly between any two forwards, and so do the documents of each client.
- Decoding forwards of different documents share a model pass while they are short.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from engine.messages.completion import PRIORITIES
from engine.server.job import Job
from engine.server.shares import Shares


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueLimits:
    """max_queued: requests that wait, in total and of one client (one without an id is not held
    to its own limit: it may be many). max_active: requests in work at a time, each with its KV;
    further ones wait for one of them to end."""

    max_queued: int = 64
    max_queued_per_client: int = 16
    max_active: int = 8
    max_active_speculative: int = 2


@dataclass(frozen=True, slots=True)
class Admission:
    """What became of a new request, and of others because of it. superseded: they are cancelled
    and, if they were waiting, gone; dropped: gone for lack of room, maybe the new one itself."""

    is_admitted: bool
    superseded: list[Job] = field(default_factory=list)
    dropped: list[Job] = field(default_factory=list)


class Scheduler:
    """`admit`, then `pick` and `charge` for each turn, `start` before the first, `remove` at the
    end. Jobs are waiting or active; a picked job may be either."""

    def __init__(self, limits: QueueLimits) -> None:
        self._limits = limits
        # Dictionaries, as sets that keep the order of arrival.
        self._waiting: dict[Job, None] = {}
        self._active: dict[Job, None] = {}
        self._shares = {priority: _TwoLevelShares() for priority in PRIORITIES}
        self._last_picked: list[Job] = []
        self._num_preemptions = 0

    @property
    def has_work(self) -> bool:
        return bool(self._waiting or self._active)

    @property
    def active(self) -> list[Job]:
        """Requests that were begun, in the order in which they were."""
        return list(self._active)

    def num_waiting(self, priority: str | None = None) -> int:
        if priority is None:
            return len(self._waiting)
        return sum(job.request.priority == priority for job in self._waiting)

    def is_waiting(self, job: Job) -> bool:
        return job in self._waiting

    def admit(self, job: Job) -> Admission:
        """Take in `job`; see Admission."""
        superseded = [other for other in self._all() if _supersedes(job, other)]
        for other in superseded:
            other.is_cancelled = True
            if other in self._waiting:
                self.remove(other)
        dropped: list[Job] = []
        if self._is_full_for(job):
            victim = job if job.is_speculative else self._expendable(job)
            if victim is None:
                return Admission(False, superseded)
            dropped.append(victim)
            if victim is job:
                return Admission(True, superseded, dropped)
            self.remove(victim)
        self._waiting[job] = None
        self._shares_of(job).enter(job)
        return Admission(True, superseded, dropped)

    def start(self, job: Job) -> None:
        """`job`, which was picked, is in work from now on."""
        del self._waiting[job]
        self._active[job] = None

    def remove(self, job: Job) -> None:
        """`job` has ended, or is not wanted any more."""
        self._waiting.pop(job, None)
        self._active.pop(job, None)
        self._shares_of(job).leave(job)

    def take_waiting(self) -> list[Job]:
        """Remove all that wait."""
        taken = list(self._waiting)
        for job in taken:
            self.remove(job)
        return taken

    def pick(self, max_batch_tokens: int) -> list[Job]:
        """Whose forwards are to be done next, in one model pass. None when nothing is to be done,
        or when a request in work is cancelled, which comes first."""
        if any(job.is_cancelled for job in self._active):
            return []
        for priority in PRIORITIES:
            order = self._runnable(priority)
            if order:
                picked = _joined(order, max_batch_tokens)
                self._count_preemption(picked)
                self._last_picked = picked
                return picked
        return []

    def take_preemptions(self) -> int:
        """How often speculative work was paused for other since the last call."""
        taken, self._num_preemptions = self._num_preemptions, 0
        return taken

    def charge(self, jobs: list[Job], cost: float) -> None:
        """The turn of `jobs`, none of which has been removed, has cost so much of the engine."""
        for job in jobs:
            self._shares_of(job).charge(job, cost / len(jobs))

    def _all(self) -> Iterator[Job]:
        yield from self._active
        yield from self._waiting

    def _shares_of(self, job: Job) -> _TwoLevelShares:
        return self._shares[job.request.priority]

    def _is_full_for(self, job: Job) -> bool:
        return len(self._waiting) >= self._limits.max_queued or self._has_too_many(job)

    def _has_too_many(self, job: Job) -> bool:
        if job.client is None:
            return False
        num_own = sum(other.client == job.client for other in self._waiting)
        return num_own >= self._limits.max_queued_per_client

    def _expendable(self, job: Job) -> Job | None:
        """The waiting request to give up for `job`: speculative, and its own client's if that one
        has too many."""
        own_only = self._has_too_many(job)
        for other in self._waiting:
            if other.is_speculative and (other.client == job.client or not own_only):
                return other
        return None

    def _runnable(self, priority: str) -> list[Job]:
        """Who could have the next forward, in the order in which they should."""
        active = [job for job in self._active if job.request.priority == priority]
        owned = {job.document for job in self._active} - {None}
        is_speculative = priority != PRIORITIES[0]
        limits = self._limits
        room = (limits.max_active_speculative if is_speculative else limits.max_active) - len(
            active
        )
        found = list(active)
        if room > 0:
            found += [
                job
                for job in self._waiting
                if job.request.priority == priority and job.document not in owned
            ]
        # A stable sort: among equals the oldest is first.
        return sorted(found, key=self._shares[priority].used)

    def _count_preemption(self, picked: list[Job]) -> None:
        paused = any(job.is_speculative and job in self._active for job in self._last_picked)
        self._num_preemptions += paused and not picked[0].is_speculative


def _supersedes(new: Job, old: Job) -> bool:
    if old.is_cancelled or new.document is None or new.document != old.document:
        return False
    if old.is_speculative and not new.is_speculative:
        # A guess holds the document's KV, which is now needed; whose guess it is does not matter.
        return True
    is_same_kind = type(new.request) is type(old.request)
    return new.client == old.client and is_same_kind and new.is_speculative == old.is_speculative


def _joined(order: list[Job], max_tokens: int) -> list[Job]:
    """The first of `order`, and as many of the others as can share its model pass."""
    first, *others = order
    picked, num_tokens = [first], _num_joinable_tokens(first)
    if num_tokens:
        for job in others:
            more = _num_joinable_tokens(job)
            if more and num_tokens + more <= max_tokens:
                picked.append(job)
                num_tokens += more
    return picked


def _num_joinable_tokens(job: Job) -> int:
    return 0 if job.work is None else job.work.num_joinable_tokens


class _TwoLevelShares:
    """What the clients have used of the engine, and within each client its documents."""

    def __init__(self) -> None:
        self._clients = Shares()
        self._documents: dict[str | None, Shares] = {}

    def used(self, job: Job) -> tuple[float, float]:
        return self._clients.used(job.client), self._documents[job.client].used(_document(job))

    def enter(self, job: Job) -> None:
        self._clients.enter(job.client)
        self._documents.setdefault(job.client, Shares()).enter(_document(job))

    def charge(self, job: Job, cost: float) -> None:
        self._clients.charge(job.client, cost)
        self._documents[job.client].charge(_document(job), cost)

    def leave(self, job: Job) -> None:
        self._clients.leave(job.client)
        documents = self._documents[job.client]
        documents.leave(_document(job))
        if not len(documents):
            del self._documents[job.client]


def _document(job: Job) -> str | int:
    """A request without a document shares with nobody."""
    return job.number if job.document is None else job.document
