"""A small benchmark in HumanEval-Infilling's format, and where to put it."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

NUM_TASKS = 4
NUM_ROWS_PER_TASK = 3


def row(task: int, line: int) -> dict[str, Any]:
    """Task `task` adds its own number; the hole is the line that returns the sum."""
    return {
        "task_id": f"SingleLineInfilling/HumanEval/{task}/L{line}",
        "entry_point": "add",
        "prompt": f"def add(x):\n    # {line} comes first\n",
        "suffix": "\n# end\n",
        "canonical_solution": f"    return x + {task}\n",
        "test": f"def check(candidate):\n    assert candidate(10) == {10 + task}\n",
    }


def all_rows() -> list[dict[str, Any]]:
    return [row(task, line) for task in range(NUM_TASKS) for line in range(NUM_ROWS_PER_TASK)]


def write(path: Path, rows: Iterable[dict[str, Any]]) -> Path:
    text = "".join(json.dumps(each) + "\n" for each in rows)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path
