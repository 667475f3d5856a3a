"""The protocol's pipe, read by the event loop itself. Used by `server.py` when it starts.

pygls reads each header line in a thread, which costs a message several changes of threads; that is
most of what an answer without any work takes. What is no pipe (a file, a console) is still read so.
"""

from __future__ import annotations

import asyncio
import logging
import os
import stat
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import BinaryIO

from pygls.io_ import StdinAsyncReader, StdoutWriter, run_async
from pygls.lsp.server import LanguageServer

logger = logging.getLogger(__name__)

_MAX_LINE_BYTES = 1 << 16


def serve(server: LanguageServer, stdin: BinaryIO, stdout: BinaryIO) -> None:
    """Serve until the client says ``exit`` or goes away. As pygls' own, but for the reader."""
    stop = server._stop_event = threading.Event()
    server.protocol.set_writer(StdoutWriter(stdout))

    async def run() -> None:
        reader = await open_reader(stdin, server.thread_pool)
        await run_async(stop, reader, server.protocol, error_handler=server.report_server_error)

    try:
        asyncio.run(run())
    except BrokenPipeError:
        logger.error("The connection to the client is lost.")
    except (KeyboardInterrupt, SystemExit):
        pass
    finally:
        server.shutdown()  # type: ignore[no-untyped-call]


class PipeReader:
    """Like pygls' reader, over a stream of the event loop."""

    def __init__(self, stream: asyncio.StreamReader) -> None:
        self._stream = stream

    async def readline(self) -> bytes:
        """A line with its end; empty at the end of the stream."""
        # With more messages buffered this would not wait at all, and the handler of the last one
        # would not begin before the next one has changed the document.
        await asyncio.sleep(0)
        try:
            return await self._stream.readline()
        except ValueError:
            # No header is as long as that; the stream has dropped it.
            return b"\n"

    async def readexactly(self, num_bytes: int) -> bytes:
        """So many bytes, or as many as are left at the end of the stream."""
        try:
            return await self._stream.readexactly(num_bytes)
        except asyncio.IncompleteReadError as error:
            return error.partial


async def open_reader(
    stdin: BinaryIO, threads: ThreadPoolExecutor
) -> PipeReader | StdinAsyncReader:
    """A reader of `stdin` that suits what it is."""
    if os.name != "nt" and _is_pipe(stdin):
        stream = asyncio.StreamReader(limit=_MAX_LINE_BYTES)
        protocol = asyncio.StreamReaderProtocol(stream)
        await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, stdin)
        return PipeReader(stream)
    return StdinAsyncReader(stdin, threads)


def _is_pipe(stdin: BinaryIO) -> bool:
    try:
        mode = os.fstat(stdin.fileno()).st_mode
    except (OSError, ValueError):
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)
