"""Fixtures of the language server's tests: a fake engine and a client over real stdio."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
from documents import StartClient
from fake_engine import FakeEngine
from lsprotocol import types
from pytest_lsp import ClientServerConfig, LanguageClient, make_test_lsp_client

PATIENT_MS = 60_000


@pytest.fixture
def socket_path() -> Iterator[Path]:
    # Not tmp_path, whose names grow beyond what a socket address holds.
    with tempfile.TemporaryDirectory(prefix="nemodiff-") as folder:
        yield Path(folder) / "engine.sock"


@pytest.fixture(autouse=True)
def own_user_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Servers under test neither read the developer's settings nor count into their statistics.

    Their own settings give them time: on a busy machine the usual deadline is over before a server
    has found its engine. And nothing is asked ahead, so that each request at the engine is the
    test's own. A test that is about either says so.
    """
    monkeypatch.setenv("NEMODIFF_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    settings = tmp_path / "config" / "nemodiff" / "settings.toml"
    settings.parent.mkdir(parents=True)
    deadlines = f"deadlineMs = {PATIENT_MS}\ninvokedDeadlineMs = {PATIENT_MS}\n"
    settings.write_text(f"{deadlines}prefetch = false\n")


@pytest.fixture
def engine(socket_path: Path) -> Iterator[FakeEngine]:
    with FakeEngine(socket_path) as running:
        yield running


@pytest_asyncio.fixture
async def start_client(socket_path: Path) -> AsyncIterator[StartClient]:
    """Starts language servers with an initialized session; ends them all afterwards."""
    started: list[LanguageClient] = []

    async def start(
        options: object = None,
        encodings: list[types.PositionEncodingKind | str] | None = None,
        arguments: tuple[str, ...] = ("--no-engine-start",),
    ) -> LanguageClient:
        command = [sys.executable, "-m", "nemodiff_lsp", "--engine-socket", str(socket_path)]
        config = ClientServerConfig(
            server_command=[*command, *arguments], client_factory=make_test_lsp_client
        )
        client = await config.start()
        assert isinstance(client, LanguageClient)
        started.append(client)
        general = types.GeneralClientCapabilities(position_encodings=encodings)
        await client.initialize_session(
            types.InitializeParams(
                capabilities=types.ClientCapabilities(general=general),
                initialization_options=options,
            )
        )
        return client

    yield start
    for client in started:
        await client.shutdown_session()
        await client.stop()


@pytest_asyncio.fixture
async def client(engine: FakeEngine, start_client: StartClient) -> LanguageClient:
    """A client of a language server that has joined `engine`."""
    return await start_client()
