"""Documents of a repository whose git hangs: silent with the reason, until the answer is there."""

from __future__ import annotations

import asyncio
import subprocess
import threading
from pathlib import Path

import pytest
from in_process import URI, Session, whole

GUARD_S = 30.0


async def test_a_git_that_hangs_costs_the_completions_of_its_repository_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go = threading.Event()

    def hangs(command: list[str], **_: object) -> subprocess.CompletedProcess[bytes]:
        go.wait(GUARD_S)
        return subprocess.CompletedProcess(command, 1, b"", b"")

    monkeypatch.setattr("subprocess.run", hangs)
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "HEAD").write_text("ref: refs/heads/main\n")
    inside = (tmp_path / "a.txt").as_uri()
    session = Session(options={"reuse": False}, default=whole("pass"))
    await session.initialize()
    session.open("x = ", inside)
    session.open("y = ")
    ids = [session.ask(4, uri=uri) for uri in (inside, URI, inside)]
    replies = [await session.reply(each) for each in ids]
    found = [[item["insertText"] for item in each["result"]["items"]] for each in replies]
    assert found == [[], ["pass"], []]
    assert not go.is_set() and len(session.link.asked) == 1
    assert "git is being asked" in session.server.why.last(inside)
    go.set()
    async with asyncio.timeout(GUARD_S):
        while await session.texts_at(4, uri=inside) != ["pass"]:
            await asyncio.sleep(0.01)
    assert all(len(each) == 1 for each in session.replies.values())
