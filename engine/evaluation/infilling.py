"""The infilling suite: asks an engine to fill every hole in every mode, and runs the tests.

Called by `engine.cli.evaluate`. Holds the loop only: rows come from `dataset.py`, verdicts from
`sandbox.py`, results go to a RunLog. Requests and programs take turns, so that the engine's times
are not those of a machine that runs tests at the same moment.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from engine.errors import EngineError
from engine.evaluation.dataset import InfillingRow
from engine.evaluation.records import GoldResult, RowResult, RunLog
from engine.evaluation.sandbox import Outcome, Sandbox
from engine.messages.client import EngineRefused
from engine.messages.completion import Completion, CompletionRequest, Mode

Ask = Callable[[CompletionRequest], Completion]
Progress = Callable[[str, int, int], None]
"""Called with what is done in words, and how many rows of how many are."""


class EvaluationError(EngineError):
    """The measurement cannot go on; one sentence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InfillingOptions:
    """modes: in this order for each row. max_tokens, stop_rules: as in CompletionRequest."""

    modes: tuple[Mode, ...]
    max_tokens: int = 64
    stop_rules: bool = True

    def request(self, row: InfillingRow, mode: Mode) -> CompletionRequest:
        """Greedy, without a deadline, and without a document whose cache could be reused."""
        return CompletionRequest(
            prompt=row.prompt,
            suffix=row.suffix,
            mode=mode,
            max_tokens=self.max_tokens,
            temperature=0.0,
            stop_rules=self.stop_rules,
        )


def measure_gold(
    rows: Sequence[InfillingRow], sandbox: Sandbox, log: RunLog, progress: Progress
) -> None:
    """Run the canonical solutions: no method can be expected to do better than they do.

    Results already in `log` are kept. Raises EvaluationError.
    """
    pending = [row for row in rows if row.task_id not in log.gold]
    done = len(rows) - len(pending)

    def run(row: InfillingRow) -> Outcome:
        return sandbox.run(row.program(row.canonical_solution))

    with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
        try:
            progress("canonical solutions", done, len(rows))
            for row, outcome in zip(pending, pool.map(run, pending), strict=True):
                _check(row, outcome)
                log.add_gold(
                    GoldResult(row.task_id, row.base_task, outcome.verdict, outcome.detail)
                )
                done += 1
                progress("canonical solutions", done, len(rows))
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def measure_rows(
    rows: Sequence[InfillingRow],
    options: InfillingOptions,
    ask: Ask,
    sandbox: Sandbox,
    log: RunLog,
    progress: Progress,
) -> None:
    """Fill every hole in every mode and judge the result; pairs already in `log` are kept.

    All modes of a row follow each other, so that a machine that grows slower is slower for all.
    Raises EvaluationError, and EngineUnavailable when the engine is gone.
    """
    num_pairs = len(rows) * len(options.modes)
    done = num_pairs - len(pending_pairs(rows, options.modes, log))
    for row in rows:
        for mode in options.modes:
            if (mode, row.task_id) in log.rows:
                continue
            progress("completions", done, num_pairs)
            log.add_row(_measure(row, options.request(row, mode), ask, sandbox))
            done += 1
    progress("completions", done, num_pairs)


def pending_pairs(
    rows: Sequence[InfillingRow], modes: Sequence[Mode], log: RunLog
) -> list[tuple[Mode, str]]:
    """The (mode, task_id) that have no result yet."""
    return [
        (mode, row.task_id) for row in rows for mode in modes if (mode, row.task_id) not in log.rows
    ]


def _measure(
    row: InfillingRow, request: CompletionRequest, ask: Ask, sandbox: Sandbox
) -> RowResult:
    started_s = time.perf_counter()
    try:
        completion = ask(request)
    except EngineRefused as error:
        raise EvaluationError(f"The engine refused {row.task_id}: {error}") from None
    wall_ms = (time.perf_counter() - started_s) * 1e3
    choice = completion.choices[0]
    outcome = sandbox.run(row.program(choice.text))
    _check(row, outcome)
    facts, gold = completion.facts, row.canonical_solution
    return RowResult(
        task_id=row.task_id,
        base_task=row.base_task,
        mode=request.mode,
        text=choice.text,
        verdict=outcome.verdict,
        detail=outcome.detail,
        matches=choice.text == gold,
        matches_trimmed=choice.text.rstrip("\n") == gold.rstrip("\n"),
        tokens=facts.tokens,
        forwards=facts.forwards,
        num_near_ties=facts.num_near_ties,
        wall_ms=round(wall_ms, 2),
        engine_ms=facts.timings_ms.get("total", 0.0),
        finish_reason=choice.finish_reason,
        decoding_mode=facts.mode,
        route=facts.route,
    )


def _check(row: InfillingRow, outcome: Outcome) -> None:
    # A verdict of the machine must never be counted as one about the text.
    if outcome.verdict == "error":
        raise EvaluationError(
            f"The sandbox failed on {row.task_id} ({outcome.detail}); see that this machine has "
            "memory and processes to spare."
        )
