"""One measurement from beginning to end: which engines are needed, in which order, for what.

Called by `engine.cli.evaluate`, which says how an engine is had; the questions themselves are
asked by `measure.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from engine.evaluation.configurations import Configuration, EngineName, Point, configurations
from engine.evaluation.dataset import Dataset, EvalRow
from engine.evaluation.measure import (
    AskOptions,
    EvaluationError,
    Progress,
    measure_gold,
    measure_rows,
    num_pending,
)
from engine.evaluation.own_engine import wait_until_loaded
from engine.evaluation.records import RunLog, RunSettings
from engine.evaluation.sandbox import Sandbox
from engine.evaluation.suites import Suite
from engine.messages.address import EngineAddress
from engine.messages.client import EngineClient

Engines = Callable[[EngineName], AbstractContextManager[EngineAddress]]
"""Gives the address of an engine while the block lasts; its model may still be loading."""

# The facts of /health on which an answer depends; threads and reasons are left out. The gate
# belongs to the adapters.
_ADAPTER_FACTS = ("draft_adapter", "causal_adapter", "gate")
_ENGINE_FACTS = (
    "model",
    "device",
    "dtype",
    "weights",
    *_ADAPTER_FACTS,
    "max_prefix_tokens",
    "max_suffix_tokens",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is to be measured. rows: those of `dataset` that are asked. with_bare_base: whether the
    same model can be had, and is wanted, without its adapters."""

    suite: Suite
    dataset: Dataset
    rows: tuple[EvalRow, ...]
    points: tuple[Point, ...]
    options: AskOptions
    with_bare_base: bool

    @property
    def settings(self) -> RunSettings:
        return RunSettings(
            suite=self.suite.name,
            data=self.dataset.name,
            data_sha256=self.dataset.sha256,
            max_tokens=self.options.max_tokens,
            stop_rules=self.options.stop_rules,
            gate=self.options.gate,
            shares_prefill=self.options.shares_prefill,
        )

    def configurations(self, log: RunLog) -> tuple[Configuration, ...]:
        """The lines of the table; known once `log` knows the engine."""
        return configurations(
            self.points, log.engines["engine"], with_bare_base=self.with_bare_base
        )

    def of_engine(self, name: EngineName, log: RunLog) -> list[Configuration]:
        return [each for each in self.configurations(log) if each.engine == name]


def run(
    plan: Plan, engines: Engines, sandbox: Sandbox | None, log: RunLog, progress: Progress
) -> None:
    """Fill `log` with what is missing in it; starts no engine when nothing is.

    sandbox: None for suites without tests. The user's engine comes first, as it tells whether it
    has a causal adapter; the bare base follows when the first engine has ended. Raises
    EngineError.
    """
    # What can be told without an engine is told before minutes go into loading one.
    log.check(plan.settings)
    if _is_needed("engine", plan, sandbox, log):
        with engines("engine") as address:
            _begin(plan, "engine", address, log, progress)
            if sandbox is not None:
                measure_gold(plan.rows, sandbox, log, progress)
            _ask(plan, "engine", address, sandbox, log, progress)
    if _is_needed("bare base", plan, sandbox, log):
        with engines("bare base") as address:
            _begin(plan, "bare base", address, log, progress)
            _ask(plan, "bare base", address, sandbox, log, progress)


def _is_needed(name: EngineName, plan: Plan, sandbox: Sandbox | None, log: RunLog) -> bool:
    if "engine" not in log.engines:
        return True
    if name == "engine" and sandbox is not None:
        if any(row.task_id not in log.gold for row in plan.rows):
            return True
    return num_pending(plan.rows, plan.of_engine(name, log), log) > 0


def _begin(
    plan: Plan, name: EngineName, address: EngineAddress, log: RunLog, progress: Progress
) -> None:
    def report(phase: str, fraction: float | None) -> None:
        progress(phase, round(100 * (fraction or 0.0)), 100)

    health = wait_until_loaded(address, report)
    told: dict[str, Any] = health["engine"]
    facts = {"version": health["version"], **{each: told.get(each) for each in _ENGINE_FACTS}}
    log.begin(plan.settings)
    if name == "bare base":
        _check_same_model(log.engines["engine"], facts)
    log.begin_engine(name, facts)


def _check_same_model(facts: dict[str, Any], bare: dict[str, Any]) -> None:
    """Raises EvaluationError: a resumed run may have been given other flags."""
    for name, value in bare.items():
        if name == "causal_adapter" and value is not None:
            raise EvaluationError(f"The engine of the bare base has the causal adapter {value}.")
        if name not in _ADAPTER_FACTS and value != facts[name]:
            raise EvaluationError(
                f"The bare base is not the model of the other lines: {name} ({facts[name]}, "
                f"now {value}); give the flags of the earlier run."
            )


def _ask(
    plan: Plan,
    name: EngineName,
    address: EngineAddress,
    sandbox: Sandbox | None,
    log: RunLog,
    progress: Progress,
) -> None:
    with EngineClient(address) as client:
        measure_rows(
            plan.rows,
            plan.of_engine(name, log),
            plan.options,
            client.complete,
            sandbox,
            log,
            progress,
        )
