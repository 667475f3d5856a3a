"""Small benchmarks, in the formats of HumanEval-Infilling and of the cutter, and a way to disk."""

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


CUT_GOLD = {"line": "1 + {n}", "expression": "f({n})"}


def cut_row(package: int, kind: str, language: str = "python") -> dict[str, Any]:
    """A hole behind ``x = ``, as the cutter of fresh rows writes it."""
    return {
        "task_id": f"pkg{package}/{language}/{kind}",
        "cluster": f"pkg{package}",
        "language": language,
        "kind": kind,
        "prompt": "x = ",
        "suffix": "\ny = 2\n",
        "gold": CUT_GOLD[kind].format(n=package),
        "package": f"pkg{package}",
        "version": "1.0",
        "path": "a.py",
    }


def fresh_rows() -> list[dict[str, Any]]:
    return [
        cut_row(package, kind, language)
        for package in range(NUM_TASKS)
        for kind in CUT_GOLD
        for language in ("python", "go")
    ]


def silent_rows() -> list[dict[str, Any]]:
    return [{**row, "prompt": "x = 1", "gold": ""} for row in fresh_rows()]
