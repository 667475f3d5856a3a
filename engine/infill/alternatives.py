"""Alternatives: the candidates of one request, decoded together behind one prefilled prompt.

Run by `engine.infill.answer` when several are wanted. Each candidate has a cache of its own: the
first one the document's, each other a fork of it. `one_by_one` over the one cache is the slow twin
and finds the same candidates.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from engine.decoding.abreast import Strand, one_pass
from engine.decoding.forward import Steps
from engine.decoding.hint import Ahead
from engine.decoding.loop import Passes
from engine.kv_cache import KVCache
from engine.messages.completion import FinishReason
from engine.prefix_cache import PrefixCache

# First tokens tried per wanted alternative, as some lead to the same text.
_MAX_BRANCHES = 2
_INTERRUPTED = ("cancelled", "deadline")


@dataclass(frozen=True, slots=True)
class Candidate:
    """score: mean log-probability per token (None without tokens); num_tokens: end token too.
    gate_features: see `gate_features`; is_withheld: the gate has emptied the text."""

    text: str
    finish_reason: FinishReason
    num_tokens: int
    num_near_ties: int
    score: float | None
    gate_features: dict[str, float]
    is_withheld: bool = False

    @property
    def is_interrupted(self) -> bool:
        return self.finish_reason in _INTERRUPTED


@dataclass(slots=True)
class Start:
    """Where candidates part: the end of the prefilled prompt, of so many tokens. ahead: its last
    pass, without a hint; None until the first candidate has been through it."""

    num_tokens: int
    ahead: Ahead | None = None


class Decode(Protocol):
    """Decodes candidate number `branch` over `cache`, behind the pass that `start` holds. Where it
    holds none (None: for this candidate only), the prompt is prefilled, and `start` filled in.
    None when there is no such candidate."""

    def __call__(
        self, branch: int, cache: KVCache, start: Start | None
    ) -> Steps[Candidate | None]: ...


@dataclass(slots=True)
class Found:
    """The candidates worth answering, taken in their order. must_differ: greedy alternatives must,
    while sampling owes independent draws. emit: gets the index and the text of all but the first,
    which streams by itself."""

    num_wanted: int
    must_differ: bool
    emit: Callable[[int, str], None]
    candidates: list[Candidate] = field(default_factory=list)

    @property
    def max_branches(self) -> int:
        return _MAX_BRANCHES * self.num_wanted

    @property
    def is_complete(self) -> bool:
        """Whether there are enough, or nothing is to be offered at all."""
        found = self.candidates
        return len(found) == self.num_wanted or any(each.is_withheld for each in found)

    def take(self, candidate: Candidate) -> None:
        found = self.candidates
        if self.must_differ and any(candidate.text == other.text for other in found):
            return
        if found and candidate.is_interrupted and not candidate.text:
            # The time was up before this alternative had begun.
            return
        if found:
            self.emit(len(found), candidate.text)
        found.append(candidate)


def one_by_one(
    decode: Decode, cache: KVCache, found: Found, num_prompt_tokens: int
) -> Steps[list[Candidate]]:
    """The candidates one after the other, all over `cache`."""
    for branch in range(found.max_branches):
        # The last token's logits are needed again.
        cache.crop(min(cache.length, num_prompt_tokens - 1))
        candidate = yield from decode(branch, cache, None)
        if candidate is None:
            break
        found.take(candidate)
        if found.is_complete or candidate.is_interrupted:
            break
    return found.candidates


class Room(NamedTuple):
    """What candidates abreast may use. caches: `cache`, the first one's, is taken from it.
    max_tokens: of one model pass."""

    caches: PrefixCache
    cache: KVCache
    max_tokens: int


def abreast(
    decode: Decode, room: Room, found: Found, num_prompt_tokens: int
) -> Passes[list[Candidate]]:
    """The same candidates, with their forwards in passes of up to `room.max_tokens`.

    An Interrupted thrown in ends all of them with what they have. The first candidate's tokens
    stay in `room.cache`.
    """
    room.cache.crop(min(room.cache.length, num_prompt_tokens - 1))
    work = _Work(decode, room, found, Start(num_prompt_tokens))
    try:
        while work.begin_and_take():
            yield from one_pass(work.strands, room.max_tokens)
        return found.candidates
    finally:
        work.close()


class _Work:
    """strands: one per branch that was begun, in their order."""

    def __init__(self, decode: Decode, room: Room, found: Found, start: Start) -> None:
        self._decode, self._room, self._found, self._start = decode, room, found, start
        self._forks: list[KVCache] = []
        self._num_taken = 0
        self._has_more = True
        self.strands = [Strand(decode(0, room.cache, self._start), room.cache)]

    def begin_and_take(self) -> bool:
        """Take the candidates that are done, as far as all before them are, and begin as many more
        as are wanted; returns whether any of them waits for a forward."""
        self._take()
        while self._wants_more():
            cache = self._fork()
            steps = self._decode(len(self.strands), cache, self._start)
            self.strands.append(Strand(steps, cache))
            self._take()
        return not self._found.is_complete and any(not each.is_ended for each in self.strands)

    def close(self) -> None:
        for strand in self.strands:
            strand.close()
        for fork in self._forks:
            self._room.caches.drop(fork)
        self._forks.clear()

    def _take(self) -> None:
        results = [each.result for each in self.strands if each.is_ended]
        # There are no tokens of lower rank than one that there is not; who is interrupted is last.
        self._has_more &= not any(each is None or each.is_interrupted for each in results)
        for strand in self.strands[self._num_taken :]:
            if not strand.is_ended or self._found.is_complete:
                return
            self._num_taken += 1
            if strand.result is not None:
                self._found.take(strand.result)

    def _wants_more(self) -> bool:
        found = self._found
        if self._start.ahead is None or not self._has_more or found.is_complete:
            return False
        texts = [each.result.text for each in self.strands if each.result is not None]
        num_done = len(set(texts)) if found.must_differ else len(texts)
        num_waiting = sum(not each.is_ended for each in self.strands)
        num_begun = len(self.strands)
        return num_done + num_waiting < found.num_wanted and num_begun < found.max_branches

    def _fork(self) -> KVCache:
        """The cache of a branch that has ended, or another fork of the prompt's."""
        length = self._start.num_tokens
        in_use = {id(each.cache) for each in self.strands if not each.is_ended}
        for fork in self._forks:
            if id(fork) not in in_use:
                fork.crop(length)
                return fork
        self._forks.append(self._room.caches.fork(self._room.cache, length))
        return self._forks[-1]
