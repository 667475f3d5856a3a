"""Problems: tells the user what is wrong with the engine, each cause once until it answers again.

Owned by `engine_link.py`, which also asks here why an engine has ended.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Callable
from pathlib import Path

from lsprotocol import types

logger = logging.getLogger(__name__)

Tell = Callable[[types.MessageType, str], None]

# How long a process may take from closing its socket to its last line.
_LAST_WORDS_S = 3.0
_POLL_S = 0.25

# Process ids, times and remaining seconds tell the same problem in other words.
_DIGITS = re.compile(r"\d+")


class Problems:
    """tell: a line for the editor's log. show: a message that the user sees, for what lasts."""

    def __init__(self, tell: Tell, show: Tell) -> None:
        self._tell = tell
        self._show = show
        self._reported: set[str] = set()
        self._shown: list[str] = []

    def forget(self) -> None:
        """The engine has answered: whatever goes wrong from now on is news."""
        self._reported.clear()
        self._shown.clear()

    def report(self, problem: str) -> None:
        """Tell the log, once until `forget`."""
        cause = _cause_of(problem)
        if cause not in self._reported:
            self._reported.add(cause)
            logger.error("%s", problem)
            self._tell(types.MessageType.Error, _named(problem))

    def report_lasting(self, problem: str, *, is_vague: bool = False) -> None:
        """Tell the log and show the user, once for each cause until `forget`.

        is_vague: that no engine is there, which is no news when a reason for it has been shown.
        """
        self.report(problem)
        cause = _cause_of(problem)
        # The same sentence comes bare from a living engine, and with more around it from its log.
        is_known = any(cause in shown or shown in cause for shown in self._shown)
        if not is_known and not (is_vague and self._shown):
            self._shown.append(cause)
            self._show(types.MessageType.Warning, _named(problem))


async def last_words(log_path: Path, pid: int | None) -> str | None:
    """Why an engine has ended, which it writes only some time after it stopped to listen.

    None when it did not come to that, because it was killed or crashed.

    pid: its process, if that is known, after whose end there is nothing to wait for.
    """
    # Most language servers find a running engine and never need what this imports.
    from engine.messages.launch import last_line
    from engine.messages.readiness import failure_in

    give_up_s = time.monotonic() + _LAST_WORDS_S
    while True:
        # In this order: what it wrote before its end is then seen.
        has_ended = pid is not None and _has_ended(pid)
        words = failure_in(last_line(log_path))
        if has_ended or words is not None or time.monotonic() > give_up_s:
            return words
        await asyncio.sleep(_POLL_S)


def _has_ended(pid: int) -> bool:
    from engine.messages.processes import wait_for_end

    try:
        return wait_for_end(pid, 0.0)
    except OSError:
        return False


def _cause_of(problem: str) -> str:
    return _DIGITS.sub("", problem)


def _named(problem: str) -> str:
    return problem if problem.startswith("NemoDiff") else f"NemoDiff: {problem}"
