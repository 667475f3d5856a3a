"""Case contention: a pass and a warm completion beside busy processes, and without them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from engine.bench.completion_case import Asked, completion_lines
from engine.bench.forward_case import Grid, forward_lines
from engine.bench.neighbours import Neighbours
from engine.bench.peers import Peer
from engine.bench.prompts import CodeHole
from engine.bench.rounds import Measured, Variant
from engine.bench.subject import Subject
from engine.bench.table import Line
from engine.bench.timing import Sample
from engine.messages.completion import Mode

BLOCK = 8


@dataclass(frozen=True, slots=True)
class Contention:
    """counts: of busy processes, none among them; cached: tokens before the pass; holes, mode and
    num_tokens: of the completion."""

    counts: Sequence[int]
    cached: int
    holes: Sequence[CodeHole]
    mode: Mode
    num_tokens: int


def contention_lines(
    subjects: Sequence[Subject], peers: Sequence[Peer], neighbours: Neighbours, asked: Contention
) -> list[tuple[Line, Variant]]:
    """A causal pass over BLOCK tokens and a warm completion, on every path and peer, beside each
    number of busy processes."""
    passes = forward_lines(subjects, peers, Grid(["verify"], [BLOCK], [1], [asked.cached]))
    completions, _ = completion_lines(
        subjects, peers, Asked(asked.holes, [asked.mode], [asked.num_tokens], ["warm"])
    )
    works = [(f"pass of {BLOCK} tokens", each) for each in passes]
    works += [(f"completion of {asked.num_tokens} tokens", each) for each in completions]
    made: list[tuple[Line, Variant]] = []
    for what, (line, variant) in works:
        for num in asked.counts:
            keys = {"path": line.keys["path"], "work": what, "busy": num}
            beside = Line(
                busy_name(line.name, num),
                keys,
                group=f"{what}, {num} busy",
                is_peer=line.is_peer,
                label=str(line.keys["path"]),
            )
            made.append((beside, beside_busy(variant, beside.name, neighbours, num)))
    return made


def busy_name(name: str, num: int) -> str:
    return f"{name}, {num} busy"


def beside_busy(variant: Variant, name: str, neighbours: Neighbours, num: int) -> Variant:
    """The same under another name, with `num` processes kept busy."""

    def sample(number: int) -> Sample:
        neighbours.keep_busy(num)
        return variant.sample(number)

    return Variant(name, sample, warm_calls=variant.warm_calls)


def add_slow_downs(rows: Sequence[dict[str, Any]], measured: Measured) -> None:
    """`slow_down`: the time over that without busy processes, the median of the quotients within
    the rounds; 1 where there are none."""
    for row in rows:
        quiet = busy_name(row["name"].rpartition(", ")[0], 0)
        row["slow_down"] = measured.ratio(row["name"], quiet)
