"""Harness: an engine server in this process around a ScriptedEngine, and engine processes.

A Harness gives a test both ends: the address for clients and the engine, thread and events behind.
Made by the fixtures of `conftest.py`.
"""

from __future__ import annotations

import contextlib
import os
import queue
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import uvicorn

from engine.messages.address import EngineAddress
from engine.server.app import build_app
from engine.server.engine_thread import EngineThread
from engine.server.guard import HostRule
from engine.server.job import Job
from engine.server.listen import tcp_listener, tcp_url, unix_listener
from engine.server.metrics import Metrics
from engine.server.serve import uvicorn_config
from tests.server.scripted_engine import WAIT_S, ScriptedEngine

SCRIPT = Path(__file__).with_name("serve_scripted.py")
ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Harness:
    """A running server. `submitted` and `cancelled` get one entry per such event in the thread."""

    address: EngineAddress
    engine: ScriptedEngine
    thread: EngineThread
    metrics: Metrics
    submitted: queue.Queue[Job] = field(default_factory=queue.Queue)
    cancelled: queue.Queue[Job] = field(default_factory=queue.Queue)

    def http(self) -> httpx.Client:
        uds = None if self.address.socket is None else str(self.address.socket)
        return httpx.Client(
            transport=httpx.HTTPTransport(uds=uds),
            base_url=self.address.url or "http://localhost",
            timeout=WAIT_S,
            trust_env=False,
        )

    def watch(self) -> None:
        submit, cancel = self.thread.submit, self.thread.cancel

        def watched_submit(*args: Any) -> Job:
            job = submit(*args)
            self.submitted.put(job)
            return job

        def watched_cancel(job: Job) -> None:
            cancel(job)
            self.cancelled.put(job)

        self.thread.submit = watched_submit  # type: ignore[method-assign]
        self.thread.cancel = watched_cancel  # type: ignore[method-assign]


@contextlib.contextmanager
def run_server(
    engine: ScriptedEngine,
    folder: Path,
    *,
    tcp: bool = False,
    max_queued: int = 64,
    load: Callable[[Any], ScriptedEngine] | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Harness]:
    metrics = Metrics()
    thread = EngineThread(
        load or (lambda report: engine),
        model_names=("scripted",),
        metrics=metrics,
        max_queued=max_queued,
        clock=clock,
    )
    path = folder / "engine.sock"
    with tcp_listener("127.0.0.1", 0) if tcp else unix_listener(path) as listener:
        url = tcp_url(listener) if tcp else None
        address = EngineAddress(socket=None if tcp else path, url=url)
        harness = Harness(address, engine, thread, metrics)
        harness.watch()
        app = build_app(thread, metrics, host_rule=HostRule("127.0.0.1") if tcp else None)
        server = uvicorn.Server(uvicorn_config(app))
        runner = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        runner.start()
        thread.start()
        try:
            yield harness
        finally:
            thread.stop()
            engine.open_gate()
            server.should_exit = True
            runner.join(WAIT_S)
            assert not runner.is_alive(), "the server did not stop"
            assert thread.join(WAIT_S), "the engine thread did not stop"


class EngineProcess:
    """`serve_scripted.py` or `python -m engine`, with its first line of stdout read."""

    def __init__(self, command: list[str], log_path: Path) -> None:
        self.log_path = log_path
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        with log_path.open("wb") as log:
            self.process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=log, env=environment, text=True
            )
        assert self.process.stdout is not None
        self.announcement = self.process.stdout.readline()

    @property
    def log(self) -> str:
        return self.log_path.read_text(encoding="utf-8")

    def wait(self) -> int:
        return self.process.wait(WAIT_S)

    def rest_of_stdout(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.read()


StartProcess = Callable[..., EngineProcess]
