"""The progress of a measurement on stderr: a bar on a terminal, a line now and then elsewhere.

Called by `evaluate.py`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from engine.evaluation.measure import Progress


@contextmanager
def progress_on_stderr() -> Iterator[Progress]:
    """A Progress that draws a bar on stderr; where that is no terminal, a line now and then."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    console = Console(stderr=True)
    bar = Bar(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    task = bar.add_task("", total=None)
    last: tuple[str, int] = ("", -1)

    def progress(phase: str, done: int, total: int) -> None:
        nonlocal last
        if phase != last[0]:
            bar.reset(task, description=phase)
        bar.update(task, completed=done, total=total)
        tenth = 10 * done // max(1, total)
        if not console.is_terminal and (phase, tenth) != last:
            print(f"{phase}: {done} of {total}", file=sys.stderr, flush=True)
        last = (phase, tenth)

    with bar:
        yield progress
