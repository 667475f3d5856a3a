"""Case prefill: reading a cold prompt in the engine's own chunks, head on the last token."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

from engine.bench.costs import Pass
from engine.bench.peers import Peer
from engine.bench.rounds import Variant
from engine.bench.subject import Subject, drawn_tokens
from engine.bench.table import Line
from engine.decoding.forward import prefill
from engine.decoding.loop import Limits, Meter, run_steps


def prefill_lines(
    subjects: Sequence[Subject], peers: Sequence[Peer], lengths: Sequence[int]
) -> list[tuple[Line, Variant]]:
    """Every length on every path and peer; the floor is that of all tokens in one pass."""
    most = subjects[0].decoder.config.max_positions
    kept = list(dict.fromkeys(min(length, most) for length in lengths))
    made: list[tuple[Line, Variant]] = []
    for length, subject in product(kept, subjects):
        name = f"{subject.path}: prefill {length}"
        line = Line(
            name,
            {"path": subject.path, "length": length},
            group=f"prefill {length}",
            work=subject.work(Pass(length, 0, head_rows=1)),
            rate=subject.storage.rate,
        )
        made.append((line, _variant(name, subject, length)))
    for length, peer in product(kept, peers):
        sample = peer.prefill(length)
        if sample is not None:
            name = f"{peer.name}: prefill {length}"
            keys = {"path": peer.name, "length": length}
            line = Line(name, keys, group=f"prefill {length}", is_peer=True)
            made.append((line, Variant(name, sample)))
    return made


def _variant(name: str, subject: Subject, length: int) -> Variant:
    tokens = drawn_tokens(subject.decoder, length)

    def run() -> object:
        cache = subject.decoder.new_cache()
        steps = prefill(tokens, cache, subject.chunk_tokens)
        return run_steps(steps, subject.decoder, cache, Meter(), Limits()).logits.argmax()

    return Variant(name, lambda number: subject.timed(run))
