"""The loop of a measurement: asks an engine to fill every hole in every mode, and runs the tests.

Called by `run.py`. Rows come from `dataset.py`, verdicts from `sandbox.py`, results go to a RunLog.
Requests and programs take turns, so that the engine's times are not those of a machine that runs
tests at the same moment.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from engine.errors import EngineError
from engine.evaluation.configurations import Configuration
from engine.evaluation.dataset import EvalRow
from engine.evaluation.records import GoldResult, RowResult, RunLog
from engine.evaluation.sandbox import Outcome, Sandbox
from engine.messages.client import EngineRefused
from engine.messages.completion import Completion, CompletionRequest

Ask = Callable[[CompletionRequest], Completion]
Progress = Callable[[str, int, int], None]
"""Called with what is done in words, and how many rows of how many are."""


class EvaluationError(EngineError):
    """The measurement cannot go on; one sentence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AskOptions:
    """max_tokens, stop_rules, gate: as in CompletionRequest. shares_prefill: whether the
    configurations of a row reuse the KV of its prompt; the answers stay, the times do not."""

    max_tokens: int = 64
    stop_rules: bool = True
    gate: bool = True
    shares_prefill: bool = False

    def request(self, row: EvalRow, configuration: Configuration) -> CompletionRequest:
        """Greedy and without a deadline."""
        return CompletionRequest(
            prompt=row.prompt,
            suffix=row.suffix,
            mode=configuration.point.mode,
            confidence_threshold=configuration.point.confidence_threshold,
            max_tokens=self.max_tokens,
            temperature=0.0,
            stop_rules=self.stop_rules,
            gate=self.gate,
            # Without a document there is no cache that could be reused.
            document=row.task_id if self.shares_prefill else None,
            context=row.context,
            path=row.path,
        )


def measure_gold(
    rows: Sequence[EvalRow], sandbox: Sandbox, log: RunLog, progress: Progress
) -> None:
    """Run the canonical solutions: no method can be expected to do better than they do.

    Results already in `log` are kept. Raises EvaluationError.
    """
    pending = [row for row in rows if row.task_id not in log.gold]
    done = len(rows) - len(pending)

    def run(row: EvalRow) -> Outcome:
        return sandbox.run(row.program(row.gold))

    with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
        try:
            progress("canonical solutions", done, len(rows))
            for row, outcome in zip(pending, pool.map(run, pending), strict=True):
                _check(row, outcome)
                log.add_gold(GoldResult(row.task_id, row.cluster, outcome.verdict, outcome.detail))
                done += 1
                progress("canonical solutions", done, len(rows))
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def measure_rows(
    rows: Sequence[EvalRow],
    configurations: Sequence[Configuration],
    options: AskOptions,
    ask: Ask,
    sandbox: Sandbox | None,
    log: RunLog,
    progress: Progress,
) -> None:
    """Fill every hole in every configuration of one engine; pairs already in `log` are kept.

    sandbox: judges the results; None leaves them without a verdict. All configurations of a row
    follow each other, so that a machine that grows slower is slower for all. Raises
    EvaluationError, and EngineUnavailable when the engine is gone.
    """
    num_pairs = len(rows) * len(configurations)
    done = num_pairs - num_pending(rows, configurations, log)
    for row in rows:
        for configuration in configurations:
            if (configuration.label, row.task_id) in log.rows:
                continue
            progress("completions", done, num_pairs)
            log.add_row(_measure(row, configuration, options, ask, sandbox))
            done += 1
    progress("completions", done, num_pairs)


def num_pending(
    rows: Sequence[EvalRow], configurations: Sequence[Configuration], log: RunLog
) -> int:
    """How many pairs of a row and a configuration have no result yet."""
    keys = ((each.label, row.task_id) for row in rows for each in configurations)
    return sum(key not in log.rows for key in keys)


def _measure(
    row: EvalRow,
    configuration: Configuration,
    options: AskOptions,
    ask: Ask,
    sandbox: Sandbox | None,
) -> RowResult:
    started_s = time.perf_counter()
    try:
        completion = ask(options.request(row, configuration))
    except EngineRefused as error:
        raise EvaluationError(f"The engine refused {row.task_id}: {error}") from None
    wall_ms = (time.perf_counter() - started_s) * 1e3
    choice, facts = completion.choices[0], completion.facts
    outcome = None if sandbox is None else sandbox.run(row.program(choice.text))
    if outcome is not None:
        _check(row, outcome)
    return RowResult(
        configuration=configuration.label,
        task_id=row.task_id,
        cluster=row.cluster,
        language=row.language,
        kind=row.kind,
        text=choice.text,
        gold=row.gold,
        verdict=None if outcome is None else outcome.verdict,
        detail="" if outcome is None else outcome.detail,
        tokens=facts.tokens,
        forwards=facts.forwards,
        num_near_ties=facts.num_near_ties,
        num_cycles=facts.num_cycles,
        num_drafted_tokens=facts.num_drafted_tokens,
        num_accepted_tokens=facts.num_accepted_tokens,
        gated=facts.gated,
        gate_features=dict(facts.gate_features),
        wall_ms=round(wall_ms, 2),
        engine_ms=facts.timings_ms.get("total", 0.0),
        finish_reason=choice.finish_reason,
        decoding_mode=facts.mode,
        route=facts.route,
    )


def _check(row: EvalRow, outcome: Outcome) -> None:
    # A verdict of the machine must never be counted as one about the text.
    if outcome.verdict == "error":
        raise EvaluationError(
            f"The sandbox failed on {row.task_id} ({outcome.detail}); see that this machine has "
            "memory and processes to spare."
        )
