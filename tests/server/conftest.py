"""Fixtures of the server tests; what they hand out is in `server_harness.py`."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.server.scripted_engine import WAIT_S, ScriptedEngine
from tests.server.server_harness import SCRIPT, EngineProcess, Harness, StartProcess, run_server


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A private folder with a short path: pytest's own may exceed the limit of Unix sockets."""
    with tempfile.TemporaryDirectory(prefix="nd-") as folder:
        yield Path(folder)


@pytest.fixture(params=["unix", "tcp"])
def harness(request: pytest.FixtureRequest, short_path: Path) -> Iterator[Harness]:
    """A server whose engine answers at once, over either kind of socket."""
    with run_server(ScriptedEngine(), short_path, tcp=request.param == "tcp") as running:
        yield running


@pytest.fixture(params=["unix", "tcp"])
def gated(request: pytest.FixtureRequest, short_path: Path) -> Iterator[Harness]:
    """A server whose engine does a forward only when the test allows it."""
    engine = ScriptedEngine(gated=True)
    with run_server(engine, short_path, tcp=request.param == "tcp") as running:
        yield running


@pytest.fixture(scope="module", params=["unix", "tcp"])
def shared(request: pytest.FixtureRequest) -> Iterator[Harness]:
    """One server for all tests of a module, which is what "it lives on" is about."""
    with tempfile.TemporaryDirectory(prefix="nd-") as folder:
        tcp = request.param == "tcp"
        with run_server(ScriptedEngine(), Path(folder), tcp=tcp) as running:
            yield running


@pytest.fixture
def start_process(short_path: Path) -> Iterator[StartProcess]:
    """start_process(*flags): a scripted engine process that is ended with the test."""
    started: list[EngineProcess] = []

    def start(*flags: str) -> EngineProcess:
        log_path = short_path / f"process-{len(started)}.log"
        started.append(EngineProcess([sys.executable, str(SCRIPT), *flags], log_path))
        return started[-1]

    yield start
    for engine_process in started:
        engine_process.process.kill()
        engine_process.process.wait(WAIT_S)
        if engine_process.process.stdout is not None:
            engine_process.process.stdout.close()
