"""Breakdown: when an engine that goes on failing is taken to be broken for good.

Kept by `turns.py`. After an error on a GPU that lasts, such as a device-side assert, every later
pass of the process fails: only a new process helps.
"""

from __future__ import annotations

from collections.abc import Sequence

MAX_FAILURES = 3
"""So many passes in a row that torch fails, of different requests, are no request's own fault."""

BROKEN = (
    "The engine's model fails on every request, most likely because its device has failed; "
    "the engine ends, and the next request starts another one."
)

FAULTY = "The engine has a fault of its own; it ends, and the next request starts another one."


class Breakdown:
    """Counts the passes in a row that torch has failed."""

    def __init__(self) -> None:
        self._num_failures = 0

    @property
    def is_lasting(self) -> bool:
        """Whether there is nothing more to be hoped for."""
        return self._num_failures >= MAX_FAILURES

    def note(self, errors: Sequence[Exception]) -> None:
        """The outcome of one pass, or of a request that did not get that far.

        A failed pass ends its requests, so the next one is that of others. What goes wrong with a
        request itself says nothing of the engine, neither good nor bad.
        """
        if not errors:
            self._num_failures = 0
        elif any(_is_of_torch(error) for error in errors):
            self._num_failures += 1


def _is_of_torch(error: Exception) -> bool:
    # Not the kinds of RuntimeError that Python has for what a program does wrong.
    is_torchs_own = type(error).__module__.partition(".")[0] == "torch"
    return isinstance(error, RuntimeError) and (type(error) is RuntimeError or is_torchs_own)
