"""A language server that notes what passes: it runs another one and counts the messages.

Run as ``python relay.py RECORD COMMAND…``. Each line of RECORD is a JSON object: ``from`` (client
or server), ``method`` (null for answers), ``id`` and ``params``, ``result`` or ``error``.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from typing import BinaryIO, TextIO


def read_message(stream: BinaryIO) -> bytes | None:
    """The next message with its header; None at the end."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        byte = stream.read(1)
        if not byte:
            return None
        head += byte
    length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
    return head + stream.read(length)


def pump(source: BinaryIO, sink: BinaryIO, whose: str, record: TextIO) -> None:
    """Pass messages on until the source ends, and note each before it goes."""
    while (message := read_message(source)) is not None:
        body = json.loads(message.partition(b"\r\n\r\n")[2])
        noted = {"from": whose, "method": body.get("method"), "id": body.get("id")}
        noted |= {key: body[key] for key in ("params", "result", "error") if key in body}
        # One write per line: both directions write to the file.
        record.write(json.dumps(noted) + "\n")
        record.flush()
        sink.write(message)
        sink.flush()
    sink.close()


def main() -> int:
    path, *command = sys.argv[1:]
    server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert server.stdin is not None and server.stdout is not None
    with open(path, "a", encoding="utf-8") as record:
        there = (sys.stdin.buffer, server.stdin, "client", record)
        thread = threading.Thread(target=pump, args=there, daemon=True)
        thread.start()
        pump(server.stdout, sys.stdout.buffer, "server", record)
    return server.wait()


if __name__ == "__main__":
    sys.exit(main())
