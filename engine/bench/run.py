"""A whole run: load the subjects, open the peers, go through the cases, make one JSON report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from engine.bench.cancel_case import cancel_rows
from engine.bench.ceilings import CeilingProbe, Ceilings
from engine.bench.completion_case import (
    Asked,
    Tally,
    completion_lines,
    completion_work,
    threshold_rows,
)
from engine.bench.forward_case import forward_lines
from engine.bench.machine import describe_machine
from engine.bench.memory_case import memory_rows
from engine.bench.peers import Peer, open_peers
from engine.bench.plan import Plan
from engine.bench.prefill_case import prefill_lines
from engine.bench.prompts import CodeHole, code_holes
from engine.bench.rounds import Measured, Progress, Schedule, Variant, best_ms, measure
from engine.bench.subject import Subject, load_subjects
from engine.bench.table import Line, floor_figures, line_rows
from engine.bench.timing import tells_waiting

FORMAT = 1
_TIMED_CASES = ("forward", "prefill", "completion")


@dataclass(slots=True)
class _Timed:
    lines: list[Line]
    measured: Measured
    tallies: dict[str, Tally] = field(default_factory=dict)


def run_bench(plan: Plan, progress: Progress = lambda phase, done, total: None) -> dict[str, Any]:
    """The report as JSON values. Raises EngineError, WeightsError or ConfigError."""
    cached = plan.grid.cached if "forward" in plan.cases else ()
    progress("loading", 0, 1)
    memory = (
        memory_rows([path.name for path in plan.paths], plan.common)
        if ("memory" in plan.cases)
        else None
    )
    if plan.cases == ("memory",):
        return {**_head(plan, []), "cases": {"memory": memory}}
    subjects = load_subjects(plan.paths, plan.common, plan.shape, cached)
    needs_peers = any(case in _TIMED_CASES for case in plan.cases)
    peers, told = open_peers(plan.peers, subjects) if needs_peers else ([], {})
    try:
        return _run(plan, subjects, peers, told, memory, progress)
    finally:
        for peer in peers:
            peer.close()


def _run(
    plan: Plan,
    subjects: Sequence[Subject],
    peers: Sequence[Peer],
    told: dict[str, str],
    memory: list[dict[str, Any]] | None,
    progress: Progress,
) -> dict[str, Any]:
    probe = CeilingProbe(
        subjects[0].device,
        [subject.storage.rate for subject in subjects],
        max(subject.num_threads for subject in subjects),
        plan.is_small,
    )
    holes = code_holes(plan.num_prompts, prefix_chars=plan.prefix_chars, seed=plan.seed)
    timed: dict[str, _Timed] = {}
    for case in plan.cases:
        if case in _TIMED_CASES:
            timed[case] = _time_case(case, plan, subjects, peers, probe, holes, progress)
            for subject in subjects:
                subject.drop_caches()
    cases: dict[str, Any] = {}
    report = {**_head(plan, subjects), "peers": told, "cases": cases}
    if timed:
        ceilings = probe.read([one.measured for one in timed.values()])
        report["ceilings"] = ceilings.to_json()
        for case, one in timed.items():
            cases[case] = _rows(one, subjects, ceilings)
    if "completion" in plan.cases:
        progress("thresholds", 0, 1)
        most = max(plan.token_counts)
        cases["threshold"] = threshold_rows(subjects[0], holes, plan.thresholds, most)
    if "cancel" in plan.cases:
        num = plan.num_rounds if plan.is_quick else 4 * plan.num_rounds
        cases["cancel"] = cancel_rows(subjects, holes, num=num, seed=plan.seed, progress=progress)
    if memory is not None:
        cases["memory"] = memory
    return report


def _head(plan: Plan, subjects: Sequence[Subject]) -> dict[str, Any]:
    from engine.device import choose_device

    choice = choose_device(plan.common.device, "auto", plan.common.num_threads)
    device = subjects[0].device if subjects else choice.device
    return {
        "format": FORMAT,
        "machine": describe_machine(device),
        "settings": plan.to_json(),
        "subjects": [
            {
                "path": subject.path,
                "model": subject.label,
                "random_weights": subject.is_random,
                "num_threads": subject.num_threads,
                "bytes_per_weight": subject.storage.bytes_per_weight,
                "facts": list(subject.facts),
            }
            for subject in subjects
        ],
        "tells_waiting": tells_waiting(),
    }


def _time_case(
    case: str,
    plan: Plan,
    subjects: Sequence[Subject],
    peers: Sequence[Peer],
    probe: CeilingProbe,
    holes: Sequence[CodeHole],
    progress: Progress,
) -> _Timed:
    tallies: dict[str, Tally] = {}
    made: list[tuple[Line, Variant]]
    if case == "forward":
        made = forward_lines(subjects, peers, plan.grid)
    elif case == "prefill":
        made = prefill_lines(subjects, peers, plan.lengths)
    else:
        asked = Asked(holes, plan.modes, plan.token_counts)
        made, tallies = completion_lines(subjects, peers, asked)
    num_timed = sum(each in _TIMED_CASES for each in plan.cases)
    share_s = None if plan.max_s is None else plan.max_s / num_timed
    schedule = Schedule(plan.num_rounds, plan.seed, share_s)
    variants = [*probe.variants(), *(variant for _, variant in made)]
    measured = measure(variants, schedule, progress, case)
    return _Timed([line for line, _ in made], measured, tallies)


def _rows(one: _Timed, subjects: Sequence[Subject], ceilings: Ceilings) -> list[dict[str, Any]]:
    rows = line_rows(one.lines, one.measured, ceilings)
    by_path = {subject.path: subject for subject in subjects}
    rates = {line.name: line.rate for line in one.lines}
    for row in rows:
        if row["name"] not in one.tallies:
            continue
        told = one.tallies[row["name"]].to_json()
        work = completion_work(by_path[row["path"]], told)
        row.update(told)
        row.update(floor_figures(work, rates[row["name"]], best_ms(row), ceilings))
        row["ms_per_token"] = round(best_ms(row) / max(1.0, told["tokens"]), 3)
    return rows
