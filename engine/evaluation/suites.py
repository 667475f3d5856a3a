"""Suites: what `nemodiff eval SUITE` reads, and the figure by which its configurations are judged.

A table for `engine.cli.evaluate`, `measure.py` and `report.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from engine.evaluation.dataset import Dataset, read_fresh, read_infilling, read_silent


@dataclass(frozen=True, slots=True)
class Suite:
    """headline: name of the figure (see `figures.py`) that comparisons and the picture show.
    has_tests: whether completions are run in the sandbox."""

    name: str
    read: Callable[[Path], Dataset]
    headline: str
    has_tests: bool


SUITES = {
    suite.name: suite
    for suite in (
        Suite("infilling", read_infilling, "pass_at_1", has_tests=True),
        Suite("fresh", read_fresh, "exact_match_trimmed", has_tests=False),
        Suite("silent", read_silent, "silence_rate", has_tests=False),
    )
}
