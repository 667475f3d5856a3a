"""A missing, lost, hung, failing or refusing engine: few words to the user, no hang."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
import pytest_asyncio
from documents import StartClient, ask, change_text, inline_params, open_text, texts_of
from fake_engine import GUARD_S, Answer, FakeEngine
from lsprotocol import types
from pytest_lsp import LanguageClient

import engine.messages.launch
import nemodiff_lsp.link.backoff
import nemodiff_lsp.link.engine_link
from engine.messages.address import EngineAddress
from engine.messages.client import EngineUnavailable
from engine.messages.completion import Completion, CompletionRequest
from engine.messages.errors import ConnectionLostError
from nemodiff_lsp.link.engine_link import EngineLink, EngineOptions

REQUEST = CompletionRequest(prompt="x = ", deadline_ms=60_000.0)
START_FAILED = "The engine did not start: no model of that name (its log is /x/engine.log)"

Launch = Callable[[], Awaitable[None]]


class LinkUnderTest:
    """An EngineLink in this process, whose launches run `launch`; `logged` and `shown` messages."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, socket: Path, *, may_start: bool) -> None:
        self.logged: list[str] = []
        self.shown: list[str] = []
        self.num_launches = 0
        self.launch: Launch | None = None
        monkeypatch.setattr(engine.messages.launch, "ensure_engine_async", self._ensure)
        self.link = EngineLink(
            EngineOptions(EngineAddress(socket=socket), may_start=may_start),
            lambda _, message: self.logged.append(message),
            lambda _, message: self.shown.append(message),
        )

    async def _ensure(self, address: EngineAddress, *, arguments: tuple[str, ...]) -> None:
        self.num_launches += 1
        assert self.launch is not None
        await self.launch()

    async def texts(self) -> list[str] | None:
        completion = await asyncio.wait_for(self.link.complete(REQUEST), GUARD_S)
        return None if completion is None else [choice.text for choice in completion.choices]


MakeLink = Callable[..., LinkUnderTest]


@pytest_asyncio.fixture
async def make_link(monkeypatch: pytest.MonkeyPatch, socket_path: Path) -> AsyncIterator[MakeLink]:
    made: list[LinkUnderTest] = []

    def make(*, may_start: bool = True) -> LinkUnderTest:
        made.append(LinkUnderTest(monkeypatch, socket_path, may_start=may_start))
        return made[-1]

    yield make
    for one in made:
        await one.link.close()


def failing(problem: str) -> Launch:
    async def launch() -> None:
        raise EngineUnavailable(problem)

    return launch


async def test_a_lost_engine_is_started_again_at_once(
    make_link: MakeLink, socket_path: Path
) -> None:
    """What the old one was not given goes to the new one: kill -9 in a pause costs no answer."""
    under_test = make_link()
    fake = FakeEngine(socket_path)

    async def launch() -> None:
        fake.start()

    under_test.launch = launch
    try:
        for _ in range(3):
            assert await under_test.texts() == ["pass"]
            fake.stop()
    finally:
        fake.stop()
    assert under_test.num_launches == 3
    assert under_test.shown == []


async def test_a_failed_start_pauses_and_keeps_its_reason(make_link: MakeLink) -> None:
    under_test = make_link()
    under_test.launch = failing(START_FAILED)
    for _ in range(4):
        assert await under_test.texts() is None
    assert under_test.num_launches == 1
    assert under_test.shown == [f"NemoDiff: {START_FAILED}"]
    first, pause = under_test.logged
    assert first == f"NemoDiff: {START_FAILED}"
    assert pause.startswith("NemoDiff starts its engine again in ")
    assert pause.endswith(f" s: {START_FAILED}")


async def test_after_the_pause_only_a_new_cause_is_shown(
    make_link: MakeLink, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nemodiff_lsp.link.backoff, "_FIRST_S", 0.0)
    under_test = make_link()
    bare = "model missing does not exist"
    problems = [bare, f"The engine has ended: {bare} (its log is /x)", "process 17 was killed"]
    for problem in (*problems, "process 4711 was killed", bare):
        under_test.launch = failing(problem)
        assert await under_test.texts() is None
    assert under_test.num_launches == 5
    assert under_test.shown == [f"NemoDiff: {bare}", "NemoDiff: process 17 was killed"]


async def test_the_reason_of_a_dying_engine_is_waited_for(
    make_link: MakeLink, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It stops to listen first and writes its reason last."""
    lines = iter(["", "INFO Loading: importing torch", "nemodiff: /x/missing does not exist."])
    monkeypatch.setattr(engine.messages.launch, "last_line", lambda path: next(lines))
    under_test = make_link()

    async def launch() -> None:
        """It has announced itself, and is gone when it is asked for its health."""

    under_test.launch = launch
    assert await under_test.texts() is None
    (shown,) = under_test.shown
    assert shown.startswith("NemoDiff: The engine has ended: /x/missing does not exist. (its log")


async def test_a_model_that_cannot_load_is_shown_and_not_superseded(
    make_link: MakeLink, socket_path: Path
) -> None:
    under_test = make_link(may_start=False)
    failure = "The checkpoint is truncated."
    with FakeEngine(socket_path, state="failed", failure=failure):
        assert await under_test.texts() is None
    assert await under_test.texts() is None
    assert under_test.shown == [f"NemoDiff: {failure}"]
    assert any("No engine listens" in line for line in under_test.logged)
    with FakeEngine(socket_path):
        assert await under_test.texts() == ["pass"]
    assert await under_test.texts() is None
    with FakeEngine(socket_path, state="failed", failure=failure):
        assert await under_test.texts() is None
    first, gone, again = under_test.shown
    assert first == again == f"NemoDiff: {failure}", "it has answered in between"
    assert "No engine listens" in gone


async def test_an_engine_that_hangs_does_not_hang_the_editor(
    start_client: StartClient, engine: FakeEngine
) -> None:
    client = await start_client(options={"deadlineMs": 50, "invokedDeadlineMs": 20_000})
    open_text(client, "first = ")
    # Patient, so that the engine has been joined before the hasty one.
    assert texts_of(await ask(client, inline_params(0, 8, is_invoked=True))) == ["pass"]
    change_text(client, "x = ", 2)
    engine.script.append(Answer(is_held=True))
    answer = await asyncio.wait_for(ask(client, inline_params(0, 4)), GUARD_S)
    assert answer is not None and len(answer.items) == 0
    await engine.until(lambda: len(engine.disconnected) == 1)
    assert "has not answered in time" in client.log_messages[-1].message
    assert client.messages == []
    assert texts_of(await ask(client, inline_params(0, 4, is_invoked=True))) == ["pass"]


async def test_a_slow_answer_does_not_cost_the_other_documents_theirs(
    make_link: MakeLink, socket_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nemodiff_lsp.link.engine_link, "_ANSWER_MARGIN_S", 0.0)
    under_test = make_link(may_start=False)
    with FakeEngine(socket_path, default=Answer(is_held=True)) as fake:
        patient = asyncio.ensure_future(under_test.texts())
        await fake.until(lambda: len(fake.requests) == 1)
        hasty = CompletionRequest(prompt="x = ", deadline_ms=50.0)
        assert await asyncio.wait_for(under_test.link.complete(hasty), GUARD_S) is None
        fake.release()
        assert await patient == ["pass"]


async def test_a_missing_engine_is_shown_once_and_found_when_it_comes(
    start_client: StartClient, socket_path: Path
) -> None:
    client = await start_client()
    open_text(client, "x = ")
    for _ in range(3):
        answer = await ask(client, inline_params(0, 4))
        assert answer is not None and len(answer.items) == 0
    assert len(client.log_messages) == 1
    assert "No engine listens" in client.log_messages[0].message
    (shown,) = client.messages
    assert shown.type is types.MessageType.Warning
    assert "No engine listens" in shown.message
    with FakeEngine(socket_path):
        assert texts_of(await ask(client, inline_params(0, 4))) == ["pass"]
    for number in range(2):
        # Another text, to which nothing is known that could be offered without an engine.
        change_text(client, f"{number} + ", number + 2)
        answer = await ask(client, inline_params(0, 4))
        assert answer is not None and len(answer.items) == 0
        assert len(client.messages) == 2, "that it is gone is news, once"


async def test_an_engine_that_refuses_is_told_once(
    client: LanguageClient, engine: FakeEngine
) -> None:
    engine.default = Answer(status=503, error="The model could not be loaded.")
    open_text(client, "x = ")
    for _ in range(3):
        answer = await ask(client, inline_params(0, 4))
        assert answer is not None and len(answer.items) == 0
    (message,) = client.log_messages
    assert "The model could not be loaded." in message.message
    assert client.messages == []


async def test_a_problem_that_comes_back_is_told_again(
    start_client: StartClient, engine: FakeEngine
) -> None:
    # Each of the requests is to reach the engine, and nothing else is.
    client = await start_client(options={"reuse": False, "prefetch": False})
    refusal = Answer(status=503, error="The engine is busy.")
    engine.script.extend([refusal, refusal, Answer(), refusal])
    open_text(client, "x = ")
    for _ in range(4):
        await ask(client, inline_params(0, 4))
    assert len(client.log_messages) == 2


async def test_an_engine_that_dies_under_a_request_is_lost_when_the_reply_is_made(
    make_link: MakeLink, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then the reply is null, not "nothing to add here"."""
    under_test = make_link()
    assert await under_test.texts() == ["pass"]

    async def dies(request: CompletionRequest) -> Completion:
        raise ConnectionLostError("The engine broke the connection off.")

    monkeypatch.setattr(under_test.link._client, "complete", dies)
    assert await under_test.texts() is None
    assert under_test.link.state.kind == "lost"
    monkeypatch.undo()
    assert await under_test.texts() == ["pass"]
    assert under_test.link.state.kind == "ready"


@pytest.mark.parametrize("names", ["XAX", "XAB", "XABX", "XXAAX"])
async def test_options_changed_in_one_batch_end_at_the_last(
    make_link: MakeLink, tmp_path: Path, names: str
) -> None:
    """As `use_engine` does: it compares, and leaves what is to be awaited to a task."""
    under_test = make_link(may_start=False)
    sockets = {"X": under_test.link.options}
    for name in "AB":
        address = EngineAddress(socket=Path(f"/nonexistent/{name}.sock"))
        sockets[name] = EngineOptions(address, may_start=False)
    link, tasks = under_test.link, []
    for name in names:
        if sockets[name] != link.options:
            tasks.append(asyncio.ensure_future(link.configure(sockets[name])))
        link.start()
    await asyncio.gather(*tasks)
    assert link.options == sockets[names[-1]]


async def test_a_change_there_and_back_leaves_the_engine_in_use(
    make_link: MakeLink, socket_path: Path
) -> None:
    under_test = make_link(may_start=False)
    link, usual = under_test.link, under_test.link.options
    elsewhere = EngineOptions(EngineAddress(socket=Path("/nonexistent/a.sock")), may_start=False)
    with FakeEngine(socket_path):
        assert await under_test.texts() == ["pass"]
        await asyncio.gather(link.configure(elsewhere), link.configure(usual))
        assert await under_test.texts() == ["pass"]
