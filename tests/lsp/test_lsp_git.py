"""Documents of a repository whose git takes its time: a request waits for it up to its deadline."""

from __future__ import annotations

import asyncio
import subprocess
import threading
from pathlib import Path

import pytest
from in_process import URI, Session, whole

GUARD_S = 30.0


@pytest.fixture
def go(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """git answers when this is set."""
    event = threading.Event()

    def hangs(command: list[str], **_: object) -> subprocess.CompletedProcess[bytes]:
        event.wait(GUARD_S)
        return subprocess.CompletedProcess(command, 1, b"", b"")

    monkeypatch.setattr("subprocess.run", hangs)
    return event


async def session_in(folder: Path, **options: object) -> tuple[Session, str]:
    """A session with one document in a repository; its uri."""
    (folder / ".git").mkdir()
    (folder / ".git" / "HEAD").write_text("ref: refs/heads/main\n")
    session = Session(options={"reuse": False, **options}, default=whole("pass"))
    await session.initialize()
    uri = (folder / "a.txt").as_uri()
    session.open("x = ", uri)
    return session, uri


async def test_a_git_that_hangs_costs_the_completions_of_its_repository_only(
    tmp_path: Path, go: threading.Event
) -> None:
    session, inside = await session_in(tmp_path, deadlineMs=50)
    session.open("y = ")
    ids = [session.ask(4, uri=uri) for uri in (inside, URI)]
    replies = [await session.reply(each) for each in ids]
    found = [[item["insertText"] for item in each["result"]["items"]] for each in replies]
    assert found == [[], ["pass"]]
    assert not go.is_set() and len(session.link.asked) == 1
    assert "git is being asked" in session.server.why.last(inside)
    go.set()
    async with asyncio.timeout(GUARD_S):
        while await session.texts_at(4, uri=inside) != ["pass"]:
            await asyncio.sleep(0.01)
    assert all(len(each) == 1 for each in session.replies.values())


async def test_a_first_request_waits_for_git(tmp_path: Path, go: threading.Event) -> None:
    """An empty answer would be the last until the next key."""
    session, inside = await session_in(tmp_path)
    asked = session.ask(4, uri=inside)
    await session.settle()
    assert asked not in session.replies and session.link.asked == []
    go.set()
    reply = await session.reply(asked)
    assert [item["insertText"] for item in reply["result"]["items"]] == ["pass"]
    # The time it waited is part of its deadline.
    (request,) = session.link.requests
    assert request.deadline_ms is not None and request.deadline_ms < 60_000


async def test_a_key_or_a_newer_request_ends_the_wait_for_git(
    tmp_path: Path, go: threading.Event
) -> None:
    session, inside = await session_in(tmp_path)
    first, second = session.ask(4, uri=inside), session.ask(4, uri=inside)
    assert (await session.reply(first))["result"] is None
    session.type(4, "1", uri=inside)
    assert (await session.reply(second))["result"] is None
    third = session.ask(5, uri=inside)
    session.cancel(third)
    assert (await session.reply(third))["error"]["code"] == -32800
    assert session.link.asked == []
    go.set()
