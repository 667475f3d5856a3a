"""serve(): run the engine process in the foreground until a signal or a failed load ends it.

Called by `engine.cli.serve`. Owns the process-wide things: file descriptor 1, signals, logging.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import uvicorn
from starlette.types import ASGIApp

from engine.errors import EngineError
from engine.messages.address import is_loopback_host
from engine.server.app import build_app
from engine.server.engine_thread import CompletionEngine, EngineThread, Report
from engine.server.guard import HostRule
from engine.server.listen import tcp_listener, tcp_url, unix_listener
from engine.server.metrics import Metrics

logger = logging.getLogger(__name__)

# A stopping engine gives open answers this long, and its thread the length of a slow forward.
_GRACE_S = 5
_THREAD_GRACE_S = 10.0
_LOAD_GRACE_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenOptions:
    """Where to listen: a Unix socket, or host and port (socket is None)."""

    socket: Path | None = None
    host: str = "127.0.0.1"
    port: int = 0
    max_queued: int = 64
    log_level: str = "INFO"


def serve(
    options: ListenOptions,
    load: Callable[[Report], CompletionEngine],
    *,
    model_names: Sequence[str],
) -> int:
    """Listen, load the model on its thread, serve; returns 0 after SIGTERM or SIGINT.

    Writes one line to the real stdout: where it listens. Raises EngineError when the socket cannot
    be had or the model cannot be loaded.
    """
    # Spinning OpenMP workers would take the second core from the editor. Must precede torch.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    _start_logging(options.log_level)
    with _private_stdout() as announce, _listener(options) as listener:
        metrics = Metrics()
        thread = EngineThread(
            load,
            model_names=model_names,
            metrics=metrics,
            on_failed=lambda: server.request_stop(),
            max_queued=options.max_queued,
        )
        rule = HostRule(options.host) if options.socket is None else None
        config = uvicorn_config(build_app(thread, metrics, host_rule=rule))
        address = f"unix:{options.socket}" if options.socket else tcp_url(listener)
        server = _Server(config, thread, lambda: announce(f"NemoDiff listens on {address}\n"))
        asyncio.run(server.serve(sockets=[listener]))
    return _end(thread, by_signal=server.is_stopped_by_signal)


def uvicorn_config(app: ASGIApp) -> uvicorn.Config:
    """uvicorn as the engine uses it: plain HTTP, no access log, no logging set-up of its own."""
    return uvicorn.Config(
        app,
        http="h11",
        ws="none",
        loop="asyncio",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=_GRACE_S,
    )


class _Server(uvicorn.Server):
    """uvicorn with the engine thread tied to its start and its stop.

    uvicorn's own signal handling raises the signal again at the end, which would kill the process
    before the socket file is removed.
    """

    def __init__(
        self, config: uvicorn.Config, thread: EngineThread, on_listening: Callable[[], None]
    ) -> None:
        super().__init__(config)
        self.is_stopped_by_signal = False
        self._thread = thread
        self._on_listening = on_listening

    def request_stop(self) -> None:
        """Stop soon; may be called from any thread and from a signal handler."""
        self.should_exit = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        self._thread.start()
        self._on_listening()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        # First, so that every open request ends and uvicorn need not wait for it.
        self._thread.stop()
        await super().shutdown(sockets=sockets)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        previous = {number: signal.getsignal(number) for number in _STOP_SIGNALS}
        for number in _STOP_SIGNALS:
            signal.signal(number, self._on_signal)
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    def _on_signal(self, number: int, frame: object) -> None:
        # A second one does not wait for open connections.
        self.force_exit = self.is_stopped_by_signal
        self.is_stopped_by_signal = True
        self.request_stop()


_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def _end(thread: EngineThread, *, by_signal: bool) -> int:
    """The exit code, or EngineError for a failed load. Does not return when the thread hangs."""
    failure = None if by_signal else thread.status.failure
    # A load has nothing to finish, and between two of its steps it stops by itself.
    if not thread.join(_THREAD_GRACE_S if thread.description else _LOAD_GRACE_S):
        # Native code that will not return: a normal exit would tear the interpreter down under it.
        logging.shutdown()
        sys.stderr.flush()
        os._exit(0 if failure is None else 1)
    if failure is not None:
        raise EngineError(failure)
    return 0


def _listener(options: ListenOptions) -> AbstractContextManager[socket.socket]:
    if options.socket is not None:
        return unix_listener(options.socket)
    if not is_loopback_host(options.host):
        logger.warning(
            "Listening on %s: everybody who can reach this address can use the engine and read "
            "its answers; there is no password.",
            options.host,
        )
    return tcp_listener(options.host, options.port)


@contextlib.contextmanager
def _private_stdout() -> Iterator[Callable[[str], None]]:
    """Point file descriptor 1 at stderr, since libraries print; yields a writer to the real one."""
    sys.stdout.flush()
    real_fd = os.dup(1)
    os.dup2(2, 1)

    def announce(line: str) -> None:
        # Whoever started the engine may have left; that is no reason to end. Closed at once, so
        # that a reader of a pipe sees the end of it.
        with contextlib.suppress(OSError):
            os.write(real_fd, line.encode())
        os.dup2(2, real_fd)

    try:
        yield announce
    finally:
        # What libraries printed belongs before the sentence that ends a failed process.
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
        os.close(real_fd)


def _start_logging(level: str) -> None:
    logging.basicConfig(
        stream=sys.stderr, level=level, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    # Its lines about start and stop say nothing that ours do not.
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
