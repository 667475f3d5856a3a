"""Fill: all holes of one text, each decoded while it sees what the others hold.

In the first round the holes are filled from the first to the last; those further on are still
empty. In later rounds each hole is decoded again where anything around it has changed since, with
its own text as the hint: what stays the same costs a pass or two (`engine.decoding.hint`). All
share one KV cache, in which the text left of a hole remains for the next. Greedy, so the same
request gives the same texts. Run by `engine.infill.tasks`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from engine.decoding.loop import Passes
from engine.infill.bench import INTERRUPTED, Bench, Tally
from engine.infill.line_ends import plain
from engine.kv_cache import KVCache
from engine.messages.completion import CompletionRequest, FinishReason
from engine.messages.fill import FillRequest


@dataclass(slots=True)
class Filling:
    """What the holes hold. A hole whose turn has not come yet is empty and has no reason."""

    pieces: list[str]
    texts: list[str]
    reasons: list[FinishReason | None]
    num_rounds: int = 0
    tally: Tally = field(default_factory=Tally)

    @classmethod
    def of(cls, request: FillRequest) -> Filling:
        pieces = [plain(piece) for piece in request.pieces]
        return cls(pieces, [""] * request.num_holes, [None] * request.num_holes)

    def around(self, at: int) -> tuple[str, str]:
        """The text left and right of hole `at`, the other holes' texts included."""
        left, right = [self.pieces[0]], [self.pieces[at + 1]]
        for hole in range(at):
            left += [self.texts[hole], self.pieces[hole + 1]]
        for hole in range(at + 1, len(self.texts)):
            right += [self.texts[hole], self.pieces[hole + 1]]
        return "".join(left), "".join(right)

    def completion(self, request: FillRequest, at: int) -> CompletionRequest:
        """What to ask for at hole `at`."""
        left, right = self.around(at)
        return CompletionRequest(
            prompt=left,
            suffix=right,
            mode=request.mode,
            max_tokens=request.max_tokens,
            # Who marks a hole wants it filled.
            gate=False,
            draft=self.texts[at],
        )

    def end(self, why: FinishReason) -> None:
        """Nothing more is decoded: the holes whose turn has not come say why."""
        self.reasons = [reason or why for reason in self.reasons]


def fill(bench: Bench, request: FillRequest, filling: Filling, cache: KVCache) -> Passes[Filling]:
    """Fill `filling`, which is returned. An Interrupted thrown in ends it with what it has."""
    seen: list[tuple[str, str] | None] = [None] * request.num_holes
    for _ in range(request.num_rounds):
        filling.num_rounds += 1
        has_changed = False
        for at in range(request.num_holes):
            around = filling.around(at)
            if seen[at] == around:
                continue
            seen[at] = around
            answer = bench.answer(filling.completion(request, at), cache)
            candidate = yield from filling.tally.decode(answer)
            text = "" if candidate is None else candidate.text
            why: FinishReason = "stop" if candidate is None else candidate.finish_reason
            if why in INTERRUPTED:
                if filling.reasons[at] is None:
                    filling.texts[at] = text
                filling.end(why)
                return filling
            # An emptied hole would be no revision of a text that somebody asked for.
            if text or filling.reasons[at] is None:
                has_changed |= text != filling.texts[at]
                filling.texts[at], filling.reasons[at] = text, why
        if not has_changed:
            break
    return filling
