"""A git that hangs: nothing is completed until it answers, and nothing else waits for it."""

from __future__ import annotations

import asyncio
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from nemodiff_lsp.privacy.policy import FilePolicy, Verdict
from nemodiff_lsp.settings.settings import Settings

GUARD_S = 30.0
TEXT = "x = 1\n"


class HangingGit:
    """In place of `subprocess.run`: answers that nothing is set, once `go` has been set."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.asked = threading.Event()
        self.num_asked = 0
        self.answered = threading.Event()

    def run(self, command: list[str], **_: object) -> subprocess.CompletedProcess[bytes]:
        self.num_asked += 1
        self.asked.set()
        self.go.wait(GUARD_S)
        self.answered.set()
        return subprocess.CompletedProcess(command, 1, b"", b"")


@pytest.fixture
def git(monkeypatch: pytest.MonkeyPatch) -> Iterator[HangingGit]:
    hanging = HangingGit()
    monkeypatch.setattr("nemodiff_lsp.privacy.git.subprocess.run", hanging.run)
    yield hanging
    hanging.go.set()


@pytest.fixture
def policy(tmp_path: Path) -> FilePolicy:
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "HEAD").write_text("ref: refs/heads/main\n")
    for name in ("a.py", "b.py"):
        (tmp_path / name).write_text(TEXT)
    return FilePolicy([tmp_path], is_trusted=True, settings=Settings())


async def test_on_the_event_loop_a_git_that_hangs_means_no_and_costs_no_wait(
    git: HangingGit, policy: FilePolicy, tmp_path: Path
) -> None:
    for name in ("a.py", "b.py", "a.py"):
        verdict = policy.judge_path(tmp_path / name, TEXT)
        assert not verdict.is_allowed and "git is being asked" in verdict.reason
        assert str(tmp_path) not in verdict.reason
    assert git.num_asked == 1 and not git.answered.is_set()
    # What git has no say in is judged meanwhile.
    assert "secrets" in policy.judge_path(tmp_path / ".env", TEXT).reason
    git.go.set()
    async with asyncio.timeout(GUARD_S):
        while not policy.judge_path(tmp_path / "a.py", TEXT).is_allowed:
            await asyncio.sleep(0.001)
    assert policy.judge_path(tmp_path / "b.py", TEXT).is_allowed
    assert git.num_asked == 1


async def test_whoever_waits_in_a_thread_does_not_hold_up_the_event_loop(
    git: HangingGit, policy: FilePolicy, tmp_path: Path
) -> None:
    verdicts: list[Verdict] = []
    judging = threading.Thread(
        target=lambda: verdicts.append(policy.judge_path(tmp_path / "a.py", TEXT))
    )
    judging.start()
    assert await asyncio.to_thread(git.asked.wait, GUARD_S)
    assert "git is being asked" in policy.judge_path(tmp_path / "b.py", TEXT).reason
    assert judging.is_alive() and not git.answered.is_set()
    git.go.set()
    await asyncio.to_thread(judging.join, GUARD_S)
    assert verdicts == [Verdict(True)], "off the loop it has waited for the answer"


def test_off_the_event_loop_the_answer_is_waited_for(
    git: HangingGit, policy: FilePolicy, tmp_path: Path
) -> None:
    threading.Timer(0.3, git.go.set).start()
    assert policy.judge_path(tmp_path / "a.py", TEXT).is_allowed
    assert git.num_asked == 1
