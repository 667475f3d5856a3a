"""Git's answers: which ignore file its configuration names, asked for in threads and kept.

Asked by `repository.py`. A git that hangs, on a network drive for one, must not stop the event loop
with every open document.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass

from nemodiff_lsp.privacy.ignore import BrokenIgnoreFile
from nemodiff_lsp.privacy.watched import Stamp

_GIT_LIMIT_S = 5.0
# How long a git that gave no answer is left alone.
_RETRY_S = 30.0
# git needs some milliseconds: so nobody notices the wait, and the first completion is not lost.
_PATIENCE_S = 0.1
_NO_SUCH_KEY = 1
_KEPT_VARIABLES = ("GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM", "GIT_CONFIG_NOSYSTEM")


class GitUnanswered(BrokenIgnoreFile):
    """git has no answer, for which a busy machine or a file that is not ours may be the reason.

    retry_at_s: time.monotonic() from when on it is asked again.
    """

    def __init__(self, message: str, retry_at_s: float) -> None:
        super().__init__(message)
        self.retry_at_s = retry_at_s


class GitPending(Exception):
    """git has been asked and has not answered yet; the message is a sentence for the user."""

    def __init__(self, answer: Future[str | None]) -> None:
        super().__init__(
            "git is being asked for its ignore file; until it answers, nothing in this repository "
            "is completed."
        )
        self._answer = answer

    def wait(self) -> bool:
        """Wait for the answer; False when there is none. Never on the event loop."""
        # A killed process can hang, too, while its drive does.
        return bool(wait({self._answer}, timeout=2 * _GIT_LIMIT_S).done)

    async def wait_async(self, limit_s: float) -> None:
        """As `wait`, on the event loop and for at most `limit_s`."""
        answer = asyncio.wrap_future(self._answer)
        # Whoever asks again is told what went wrong; asyncio would log it as unseen.
        answer.add_done_callback(lambda done: done.cancelled() or done.exception())
        await asyncio.wait({answer}, timeout=limit_s)


@dataclass(frozen=True, slots=True)
class _Question:
    """stamp: of the files that the answer depends on."""

    stamp: Stamp
    answer: Future[str | None]

    def is_good_for(self, stamp: Stamp) -> bool:
        """Whether its answer, given or to come, still holds."""
        if self.stamp != stamp:
            return False
        error = self.answer.exception() if self.answer.done() else None
        return not (isinstance(error, GitUnanswered) and time.monotonic() >= error.retry_at_s)


class GitAnswers:
    """What git has said. Not thread-safe."""

    def __init__(self) -> None:
        self._questions: dict[str, _Question] = {}

    def excludes_file(self, key: str, stamp: Stamp, options: Sequence[str]) -> str | None:
        """core.excludesFile, None when it is not set. key: names the question.

        Raises GitPending while there is no answer, GitUnanswered when git has none.
        """
        question = self._questions.get(key)
        if question is None or not question.is_good_for(stamp):
            question = self._questions[key] = _Question(stamp, _asked(options))
            wait({question.answer}, timeout=_PATIENCE_S)
        if not question.answer.done():
            raise GitPending(question.answer)
        error = question.answer.exception()
        if error is not None:
            # It is raised again and again, and must not collect the places where it was.
            raise error.with_traceback(None)
        return question.answer.result()


def _asked(options: Sequence[str]) -> Future[str | None]:
    answer: Future[str | None] = Future()

    def ask() -> None:
        try:
            answer.set_result(_ask_git(options))
        except Exception as error:
            answer.set_exception(error)

    # A daemon: the end of the process must not wait for it, as it would for that of a pool.
    threading.Thread(target=ask, name="git", daemon=True).start()
    return answer


def _ask_git(options: Sequence[str]) -> str | None:
    """core.excludesFile, from the root folder, which is nobody's work tree; None when not set.

    Without git on the machine nobody has set it. Raises GitUnanswered.
    """
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("GIT_") or name in _KEPT_VARIABLES
    }
    command = ["git", "config", *options, "--type=path", "--null", "--get", "core.excludesFile"]
    try:
        answer = subprocess.run(
            command,
            cwd=os.path.abspath(os.sep),
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_GIT_LIMIT_S,
        )
    except FileNotFoundError:
        return None
    except (OSError, subprocess.SubprocessError) as error:
        raise _unanswered(type(error).__name__) from None
    if answer.returncode == _NO_SUCH_KEY:
        return None
    if answer.returncode != 0:
        raise _unanswered("git cannot read it")
    return os.fsdecode(answer.stdout).rstrip("\0") or None


def _unanswered(why: str) -> GitUnanswered:
    return GitUnanswered(broken("git's configuration", why), time.monotonic() + _RETRY_S)


def broken(name: str, why: str) -> str:
    """What to tell the user of an ignore file, or of what names one."""
    return f"{name} cannot be used ({why}); until it is repaired, what it might hide is left out."
