"""serve(): run the engine process in the foreground until a signal, idleness or a failed load.

Called by `engine.cli.serve`. Owns the process-wide things: file descriptor 1, signals, logging.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import ssl
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

import uvicorn
from starlette.types import ASGIApp

from engine.errors import EngineError
from engine.messages.address import is_loopback_host
from engine.server.app import build_app
from engine.server.departure import Departure
from engine.server.engine_thread import CompletionEngine, EngineThread, Report
from engine.server.guard import HostRule
from engine.server.listen import endpoint_listener, tcp_listener, tcp_url, unix_listener
from engine.server.metrics import Metrics

logger = logging.getLogger(__name__)

# A stopping engine gives open answers this long, and its thread the length of a slow forward.
_GRACE_S = 5
_THREAD_GRACE_S = 10.0
_LOAD_GRACE_S = 1.0
# sysexits' EX_SOFTWARE.
_BROKEN_EXIT = 70


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenOptions:
    """Where to listen: a Unix socket, an endpoint file (loopback TCP), or host and port.

    token, tls_cert, tls_key: for host and port only; without a token everybody who reaches the port
    may ask. idle_exit_s: after so long without work the engine leaves; None for never.
    """

    socket: Path | None = None
    endpoint_file: Path | None = None
    host: str = "127.0.0.1"
    port: int = 0
    token: str | None = field(default=None, repr=False)
    tls_cert: Path | None = None
    tls_key: Path | None = None
    idle_exit_s: float | None = None
    max_queued: int = 64
    log_level: str = "INFO"


def serve(
    options: ListenOptions,
    load: Callable[[Report], CompletionEngine],
    *,
    model_names: Sequence[str],
) -> int:
    """Listen, load the model on its thread, serve; returns 0 after a signal or an idle exit.

    Writes one line to the real stdout: where it listens. Raises EngineError when the socket cannot
    be had or the model cannot be loaded.
    """
    # Spinning OpenMP workers would take the second core from the editor. Must precede torch.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    _start_logging(options.log_level)
    _check_tls(options)
    with _private_stdout() as announce, _listener(options) as place:
        metrics = Metrics()
        thread = EngineThread(
            load,
            model_names=model_names,
            metrics=metrics,
            on_failed=lambda: server.request_stop(),
            max_queued=options.max_queued,
        )
        config = uvicorn_config(
            build_app(thread, metrics, host_rule=place.rule),
            tls_cert=options.tls_cert,
            tls_key=options.tls_key,
        )
        departure = Departure(
            thread,
            idle_exit_s=options.idle_exit_s,
            withdraw=place.withdraw,
            num_connections=lambda: len(server.server_state.connections),
        )
        announcement = f"NemoDiff listens on {place.address}\n"
        server = _Server(config, thread, departure, lambda: announce(announcement))
        asyncio.run(server.serve(sockets=[place.listener]))
        if thread.is_broken:
            _die(str(thread.status.failure))
    return _end(thread, by_signal=server.is_stopped_by_signal)


def uvicorn_config(
    app: ASGIApp, *, tls_cert: Path | None = None, tls_key: Path | None = None
) -> uvicorn.Config:
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
        ssl_certfile=tls_cert,
        ssl_keyfile=tls_key,
        timeout_graceful_shutdown=_GRACE_S,
    )


class _Server(uvicorn.Server):
    """uvicorn with the engine thread tied to its start and its stop.

    uvicorn's own signal handling raises the signal again at the end, which would kill the process
    before the socket file is removed.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        thread: EngineThread,
        departure: Departure,
        on_listening: Callable[[], None],
    ) -> None:
        super().__init__(config)
        self.is_stopped_by_signal = False
        self._thread = thread
        self._departure = departure
        self._on_listening = on_listening

    def request_stop(self) -> None:
        """Stop soon; may be called from any thread and from a signal handler."""
        self.should_exit = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        self._thread.start()
        self._on_listening()

    async def on_tick(self, counter: int) -> bool:
        # Called ten times a second, from the main loop of uvicorn.
        return await super().on_tick(counter) or self._departure.is_due()

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


def _die(why: str) -> NoReturn:
    """End as a crash does: with the address left behind, which is what clients tell a crash by."""
    logger.critical("%s", why)
    logging.shutdown()
    sys.stderr.flush()
    # A normal exit would run the driver's own tidying up, which a failed device may never end.
    os._exit(_BROKEN_EXIT)


@dataclass(frozen=True, slots=True)
class _Place:
    """Where an engine listens, who is let in, and how its address is taken away again."""

    listener: socket.socket
    address: str
    rule: HostRule | None
    withdraw: Callable[[], None]


@contextlib.contextmanager
def _listener(options: ListenOptions) -> Iterator[_Place]:
    if options.socket is not None:
        path = options.socket
        with unix_listener(path) as listener:
            yield _Place(listener, f"unix:{path}", None, lambda: path.unlink(missing_ok=True))
    elif options.endpoint_file is not None:
        path = options.endpoint_file
        with endpoint_listener(path) as (listener, endpoint):
            rule = HostRule("127.0.0.1", endpoint.token)
            yield _Place(listener, f"tcp:{path}", rule, lambda: path.unlink(missing_ok=True))
    else:
        _warn_of_guests(options)
        with tcp_listener(options.host, options.port) as listener:
            url = tcp_url(listener, is_tls=options.tls_cert is not None)
            yield _Place(listener, url, HostRule(options.host, options.token), lambda: None)


def _warn_of_guests(options: ListenOptions) -> None:
    if is_loopback_host(options.host):
        return
    if options.token is None:
        logger.warning(
            "Listening on %s: everybody who can reach this address can use the engine and read "
            "its answers; there is no password (--token-file asks for one).",
            options.host,
        )
    if options.tls_cert is None:
        logger.warning("Without --tls-cert, everybody on the way can read what is sent.")


def _check_tls(options: ListenOptions) -> None:
    """Raises EngineError for a certificate or key that cannot be used."""
    if options.tls_cert is None:
        return
    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(options.tls_cert, options.tls_key, password="")
    except (OSError, ssl.SSLError) as error:
        reason = error.strerror or getattr(error, "reason", None) or type(error).__name__
        raise EngineError(
            f"--tls-cert and --tls-key cannot be used ({reason}); both must be PEM files."
        ) from None


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
