"""The whole chain without any fake: language server over stdio, engine process, default model.

Marked slow, because it loads the model; skipped where the model is not in the cache.
"""

from __future__ import annotations

import ast
import asyncio
import os
import select
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from documents import StartClient, ask, inline_params, open_text, texts_of
from fake_engine import GUARD_S

import nemodiff_lsp.documents.positions
from engine.config import DEFAULT_MODEL
from engine.messages.address import EngineAddress
from engine.messages.client import EngineClient
from engine.messages.launch import stop_engine
from engine.weights import store

pytestmark = pytest.mark.slow

TINY_CHECKPOINT = Path(__file__).parents[1] / "tiny_model" / "checkpoint"


@pytest.fixture
def real_engine(socket_path: Path) -> Iterator[None]:
    """Ends the engine that the language server starts on our own socket."""
    yield
    stop_engine(EngineAddress(socket=socket_path))


@pytest.mark.skipif(
    store.find(DEFAULT_MODEL) is None,
    reason=f"{DEFAULT_MODEL} is not in the cache (run `nemodiff models pull`)",
)
async def test_a_hole_in_a_real_file_is_filled(
    real_engine: None, start_client: StartClient
) -> None:
    source = Path(nemodiff_lsp.documents.positions.__file__).read_text(encoding="utf-8")
    expression = "_LINE_END.sub(newline, text)"
    offset = source.index(expression)
    before, after = source[:offset], source[offset + len(expression) :]
    assert after.startswith("\n")
    client = await start_client(
        options={"deadlineMs": 300_000, "invokedDeadlineMs": 300_000}, arguments=()
    )
    open_text(client, before + after)
    line, character = before.count("\n"), len(before) - before.rindex("\n") - 1

    (text,) = texts_of(await ask(client, inline_params(line, character)))
    assert text.strip() and "\n" not in text.strip("\n")
    ast.parse(before + text + after)

    alternatives = texts_of(await ask(client, inline_params(line, character, is_invoked=True)))
    assert 2 <= len(alternatives) == len(set(alternatives)) <= 3
    assert alternatives[0] == text


def _pid(socket: Path) -> int:
    with EngineClient(EngineAddress(socket=socket)) as client:
        return int(client.health()["pid"])


async def test_a_killed_engine_comes_back_with_the_next_requests(
    real_engine: None, start_client: StartClient, socket_path: Path
) -> None:
    # Without reuse, or the same question would be answered without any engine.
    options = {"deadlineMs": 300_000, "reuse": False}
    client = await start_client(options=options, arguments=("--model", str(TINY_CHECKPOINT)))
    open_text(client, "x = ")
    assert await ask(client, inline_params(0, 4)) is not None
    pid = _pid(socket_path)
    process = os.pidfd_open(pid)
    os.kill(pid, signal.SIGKILL)
    await asyncio.to_thread(select.select, [process], [], [])
    os.close(process)
    for _ in range(2):
        assert await ask(client, inline_params(0, 4)) is not None
    assert _pid(socket_path) != pid
    assert client.messages == []


async def test_a_stopped_engine_costs_its_answers_only(
    real_engine: None, start_client: StartClient, socket_path: Path
) -> None:
    client = await start_client(
        options={"deadlineMs": 300_000, "invokedDeadlineMs": 50},
        arguments=("--model", str(TINY_CHECKPOINT)),
    )
    open_text(client, "x = ")
    assert await ask(client, inline_params(0, 4)) is not None
    pid = _pid(socket_path)
    os.kill(pid, signal.SIGSTOP)
    try:
        for _ in range(2):
            asked = ask(client, inline_params(0, 4, is_invoked=True))
            answer = await asyncio.wait_for(asked, GUARD_S)
            assert answer is not None and len(answer.items) == 0
    finally:
        os.kill(pid, signal.SIGCONT)
    lines = [message.message for message in client.log_messages]
    assert any("has not answered in time" in line for line in lines), lines
    assert await ask(client, inline_params(0, 4)) is not None
    assert _pid(socket_path) == pid


async def test_an_engine_that_cannot_load_says_why(
    start_client: StartClient, socket_path: Path, tmp_path: Path
) -> None:
    client = await start_client(arguments=("--model", str(tmp_path / "missing")))
    open_text(client, "x = ")
    errors: list[str] = []
    # A busy machine may take longer to import torch than the first request waits.
    for _ in range(8):
        answer = await ask(client, inline_params(0, 4))
        assert answer is not None and len(answer.items) == 0
        errors = [message.message for message in client.log_messages]
        if any("missing does not exist" in message for message in errors):
            break
    assert any("missing does not exist" in message for message in errors), errors
    (shown,) = client.messages
    assert "missing does not exist" in shown.message
