"""The cases that are timed in interleaved rounds: what each times, and what its rows add."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from engine.bench import compare_case
from engine.bench.ceilings import CeilingProbe, Ceilings
from engine.bench.completion_case import Asked, Tally, completion_lines, completion_work
from engine.bench.contention_case import (
    Contention,
    add_slow_downs,
    beside_busy,
    contention_lines,
)
from engine.bench.cycles_case import cycle_lines
from engine.bench.forward_case import forward_lines
from engine.bench.neighbours import Neighbours
from engine.bench.peers import Peer
from engine.bench.plan import TIMED_CASES, Plan
from engine.bench.prefill_case import prefill_lines
from engine.bench.prompts import CodeHole, code_holes
from engine.bench.relative import add_relative
from engine.bench.rounds import Measured, Progress, Schedule, Variant, best_ms, measure
from engine.bench.subject import Subject
from engine.bench.table import Line, floor_figures, line_rows
from engine.bench.transformers_peer import NAME as TRANSFORMERS

# Candidates for holes that all modes fill to the same length, for each one that is wanted.
_CANDIDATES = 6

Made = list[tuple[Line, Variant]]


@dataclass(slots=True)
class TimedCase:
    """A case that has been timed."""

    case: str
    lines: list[Line]
    measured: Measured
    tallies: dict[str, Tally] = field(default_factory=dict)


@dataclass
class TimedCases:
    """Times cases of one plan, one after the other; holes: those of case completion."""

    plan: Plan
    subjects: Sequence[Subject]
    peers: Sequence[Peer]
    probe: CeilingProbe
    holes: Sequence[CodeHole]

    def run(self, case: str, progress: Progress) -> TimedCase:
        """Its rounds; each has the ceilings, too."""
        with ExitStack() as stack:
            made, tallies, ceilings = self._made(case, stack)
            variants = [*ceilings, *(variant for _, variant in made)]
            measured = measure(variants, self._schedule(), progress, case)
        for subject in self.subjects:
            subject.drop_caches()
        return TimedCase(case, [line for line, _ in made], measured, tallies)

    def rows(self, timed: TimedCase, ceilings: Ceilings) -> list[dict[str, Any]]:
        """JSON objects for all lines of `timed`."""
        rows = line_rows(timed.lines, timed.measured, ceilings)
        rates = {line.name: line.rate for line in timed.lines}
        for row in rows:
            if row["name"] in timed.tallies:
                self._add_tally(row, timed.tallies[row["name"]], rates[row["name"]], ceilings)
        if timed.case == "forward":
            add_relative(rows, timed.measured)
        elif timed.case == "compare":
            compare_case.compare_figures(rows, timed.measured, timed.tallies)
        elif timed.case == "contention":
            add_slow_downs(rows, timed.measured)
        return rows

    def _made(
        self, case: str, stack: ExitStack
    ) -> tuple[Made, dict[str, Tally], Sequence[Variant]]:
        plan, subjects, peers = self.plan, self.subjects, self.peers
        ceilings = self.probe.variants()
        if case == "forward":
            return forward_lines(subjects, peers, plan.grid), {}, ceilings
        if case == "cycles":
            return cycle_lines(subjects, plan.grid, plan.token_counts, plan.accepted), {}, ceilings
        if case == "prefill":
            return prefill_lines(subjects, peers, plan.lengths), {}, ceilings
        if case == "completion":
            asked = Asked(self.holes, plan.modes, plan.token_counts)
            return *completion_lines(subjects, peers, asked), ceilings
        if case == "compare":
            return *compare_case.compare_lines(
                subjects, peers, self._even, plan.even_tokens
            ), ceilings
        neighbours = stack.enter_context(Neighbours(max(plan.neighbours)))
        alone = [beside_busy(each, each.name, neighbours, 0) for each in ceilings]
        holes = self._even or self.holes
        beside = Contention(
            plan.neighbours, plan.grid.cached[0], holes, plan.modes[0], plan.even_tokens
        )
        others = [peer for peer in peers if peer.name != TRANSFORMERS]
        return contention_lines(subjects, others, neighbours, beside), {}, alone

    @cached_property
    def _even(self) -> list[CodeHole]:
        num, plan = self.plan.num_prompts, self.plan
        candidates = code_holes(_CANDIDATES * num, prefix_chars=plan.prefix_chars, seed=plan.seed)
        return compare_case.even_holes(self.subjects, candidates, num, plan.even_tokens)

    def _schedule(self) -> Schedule:
        num_timed = sum(each in TIMED_CASES for each in self.plan.cases)
        share_s = None if self.plan.max_s is None else self.plan.max_s / num_timed
        return Schedule(self.plan.num_rounds, self.plan.seed, share_s)

    def _add_tally(self, row: dict[str, Any], tally: Tally, rate: str, ceilings: Ceilings) -> None:
        told = tally.to_json()
        row.update(told)
        if row["is_peer"]:
            return
        subject = next(each for each in self.subjects if each.path == row["path"])
        row.update(floor_figures(completion_work(subject, told), rate, best_ms(row), ceilings))
        row["ms_per_token"] = round(best_ms(row) / max(1.0, told["tokens"]), 3)
