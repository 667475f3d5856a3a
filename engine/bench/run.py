"""A whole run: load the subjects, open the peers, go through the cases, make one JSON report."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from engine.bench.cancel_case import cancel_rows
from engine.bench.ceilings import CeilingProbe
from engine.bench.completion_case import threshold_rows
from engine.bench.lsp_case import LspLoad, lsp_rows
from engine.bench.machine import describe_machine
from engine.bench.memory_case import memory_rows
from engine.bench.peers import Peer, PeerMissing, open_peers
from engine.bench.plan import TIMED_CASES, Plan
from engine.bench.profiling import profile_rows
from engine.bench.prompts import code_holes
from engine.bench.rounds import Progress
from engine.bench.subject import Subject, load_subjects
from engine.bench.timed_cases import TimedCase, TimedCases
from engine.bench.timing import tells_waiting

FORMAT = 2


@dataclass(slots=True)
class _Apart:
    """What is measured in processes of its own, before a model is loaded here. told: reasons for
    what is missing; spent_s: by case."""

    cases: dict[str, Any] = field(default_factory=dict)
    told: dict[str, str] = field(default_factory=dict)
    spent_s: dict[str, float] = field(default_factory=dict)


def run_bench(plan: Plan, progress: Progress = lambda phase, done, total: None) -> dict[str, Any]:
    """The report as JSON values. Raises EngineError, WeightsError or ConfigError."""
    apart = _measure_apart(plan, progress)
    if plan.cases == ("memory",):
        return {**_head(plan, []), "cases": apart.cases, "spent_s": apart.spent_s}
    progress("loading", 0, 1)
    started = time.monotonic()
    subjects = load_subjects(plan.paths, plan.common, plan.shape, _cached(plan))
    peers, told = _peers(plan, subjects)
    apart.spent_s["loading"] = round(time.monotonic() - started, 1)
    try:
        return _run(plan, subjects, peers, {**told, **apart.told}, apart, progress)
    finally:
        for peer in peers:
            peer.close()


def _peers(plan: Plan, subjects: Sequence[Subject]) -> tuple[list[Peer], dict[str, str]]:
    """Where nothing is timed, none."""
    timed = set(plan.cases) & set(TIMED_CASES)
    # Beside busy processes it says nothing that it does not say elsewhere, at several times the
    # time of all others.
    use = plan.peers.use_transformers and timed != {"contention"}
    return open_peers(replace(plan.peers, use_transformers=use), subjects) if timed else ([], {})


def _cached(plan: Plan) -> Sequence[int]:
    """Lengths that a cache is drawn for."""
    if "forward" in plan.cases:
        return plan.grid.cached
    return plan.grid.cached[:1] if "contention" in plan.cases else ()


def _measure_apart(plan: Plan, progress: Progress) -> _Apart:
    apart = _Apart()
    if "memory" in plan.cases:
        progress("memory", 0, 1)
        with _clock(apart.spent_s, "memory"):
            names = [path.name for path in plan.paths]
            apart.cases["memory"] = memory_rows(names, plan.common)
    if "lsp" in plan.cases:
        progress("language server", 0, 1)
        load = LspLoad(1, 0.25, 20) if plan.is_quick else LspLoad(6, 1.0, 100)
        with _clock(apart.spent_s, "lsp"):
            try:
                apart.cases["lsp"] = lsp_rows(plan.common, load)
            except PeerMissing as missing:
                apart.told["language server"] = str(missing)
    return apart


def _run(
    plan: Plan,
    subjects: Sequence[Subject],
    peers: Sequence[Peer],
    told: dict[str, str],
    apart: _Apart,
    progress: Progress,
) -> dict[str, Any]:
    probe = CeilingProbe(
        subjects[0].device,
        [subject.storage.rate for subject in subjects],
        max(subject.num_threads for subject in subjects),
        plan.is_small,
    )
    holes = code_holes(plan.num_prompts, prefix_chars=plan.prefix_chars, seed=plan.seed)
    runner, timed = TimedCases(plan, subjects, peers, probe, holes), list[TimedCase]()
    for case in plan.cases:
        if case in TIMED_CASES:
            with _clock(apart.spent_s, case):
                timed.append(runner.run(case, progress))
    cases: dict[str, Any] = {}
    report = {**_head(plan, subjects), "peers": told, "cases": cases, "spent_s": apart.spent_s}
    if timed:
        ceilings = probe.read([one.measured for one in timed])
        report["ceilings"] = ceilings.to_json()
        cases.update({one.case: runner.rows(one, ceilings) for one in timed})
    if plan.profiles:
        progress("profile", 0, 1)
        with _clock(apart.spent_s, "profile"):
            cases["profile"] = profile_rows(subjects, plan.grid)
    if "completion" in plan.cases:
        progress("thresholds", 0, 1)
        most = max(plan.token_counts)
        with _clock(apart.spent_s, "threshold"):
            cases["threshold"] = threshold_rows(subjects[0], holes, plan.thresholds, most)
    if "cancel" in plan.cases:
        num = plan.num_rounds if plan.is_quick else 4 * plan.num_rounds
        with _clock(apart.spent_s, "cancel"):
            cases["cancel"] = cancel_rows(
                subjects, holes, num=num, seed=plan.seed, progress=progress
            )
    cases.update(apart.cases)
    return report


@contextmanager
def _clock(spent_s: dict[str, float], case: str) -> Iterator[None]:
    started = time.monotonic()
    yield
    spent_s[case] = round(time.monotonic() - started, 1)


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
