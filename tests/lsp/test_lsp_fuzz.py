"""Fuzzing: a real server gets right, spoilt and senseless messages, and answers what it must.

A run is named by its seed, which is in the test's id and in every failure. NEMODIFF_FUZZ_SEED adds
one more run with that seed; the slow test sends a hundred thousand messages.
"""

from __future__ import annotations

import json
import os
import queue
import random
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from fake_engine import GUARD_S, FakeEngine
from raw_server import RawServer, arguments_for, inline_request

sys.path.insert(0, str(Path(__file__).parents[1] / "rigs"))

from fuzzer import Key, MessageMaker, Sent, key_of

NUM_QUICK, NUM_SLOW = 3_000, 100_000
BATCH = 100
_SEED = os.environ.get("NEMODIFF_FUZZ_SEED")
SEEDS = [2026, *([int(_SEED)] if _SEED else [])]


class Fuzzed:
    """One server process. A thread reads all that it says, so that neither side can block."""

    def __init__(self, socket: Path, seed: int) -> None:
        self._errors = tempfile.TemporaryFile()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "nemodiff_lsp", *arguments_for(socket)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
        )
        self.maker = MessageMaker(seed, [])
        self.seed = seed
        self.num_answers: Counter[Key] = Counter()
        self.owed: dict[Key, bytes] = {}
        self._used: set[Key] = set()
        self._arrived: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        threading.Thread(target=self._read, daemon=True).start()

    def __enter__(self) -> Fuzzed:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait(GUARD_S)
        for stream in (self._process.stdin, self._process.stdout, self._errors):
            assert stream is not None
            stream.close()

    def send(self, sent: Sent) -> None:
        assert self._process.stdin is not None
        if sent.key is not None:
            if sent.key in self._used:
                # A spoilt id may repeat an older one; which answer is whose could not be told.
                return
            self._used.add(sent.key)
            if sent.is_owed:
                self.owed[sent.key] = sent.body
        framed = b"Content-Length: %d\r\n\r\n%s" % (len(sent.body), sent.body)
        for chunk in self.maker.chunks(framed):
            self._process.stdin.write(chunk)
            self._process.stdin.flush()

    def request(self, method: str, params: Any, msg_id: str) -> dict[str, Any]:
        """A request of our own; its answer."""
        message = {"jsonrpc": "2.0", "id": msg_id, "method": method, "params": params}
        self.send(Sent(json.dumps(message).encode(), key_of(msg_id), is_owed=True))
        return self.settle(msg_id)

    def notify(self, method: str, params: Any) -> None:
        message = {"jsonrpc": "2.0", "method": method, "params": params}
        self.send(Sent(json.dumps(message).encode()))

    def settle(self, last_id: str | None = None) -> dict[str, Any]:
        """Wait until nothing is owed any more; the answer with `last_id`."""
        found: dict[str, Any] = {}
        while self.owed:
            try:
                message = self._arrived.get(timeout=2 * GUARD_S)
            except queue.Empty:
                pytest.fail(f"seed {self.seed}: no answer to {list(self.owed.values())[:3]}")
            if message is None:
                pytest.fail(f"seed {self.seed}: the server ended: {self.stderr()[-2000:]}")
            if "method" in message:
                self._handle_question(message)
                continue
            assert ("result" in message) != ("error" in message), message
            key = key_of(message.get("id"))
            if key in self._used:
                self.num_answers[key] += 1
            self.owed.pop(key, None)
            if last_id is not None and message.get("id") == last_id:
                found = message
        return found

    def stderr(self) -> str:
        self._errors.seek(0)
        return self._errors.read().decode("utf-8", "replace")

    def finish(self) -> int:
        assert self.request("shutdown", None, "the end")["result"] is None
        self.notify("exit", None)
        return self._process.wait(GUARD_S)

    def _handle_question(self, message: dict[str, Any]) -> None:
        if "id" in message:
            reply = self.maker.reply_to(message)
            if reply is not None:
                self.send(Sent(reply))

    def _read(self) -> None:
        stdout = self._process.stdout
        assert stdout is not None
        while line := stdout.readline():
            num_bytes = 0
            while line != b"\r\n":
                name, _, value = line.partition(b":")
                num_bytes = int(value) if name == b"Content-Length" else num_bytes
                line = stdout.readline()
            self._arrived.put(json.loads(stdout.read(num_bytes)))
        self._arrived.put(None)


def fuzz(socket: Path, seed: int, num_messages: int) -> None:
    with Fuzzed(socket, seed) as server:
        params = {"processId": None, "rootUri": "file:///project", "capabilities": {}}
        answer = server.request("initialize", params, "the start")
        provider = answer["result"]["capabilities"].get("executeCommandProvider") or {}
        # A command that restarts or stops the engine is as good as any here.
        server.maker = MessageMaker(seed, list(provider.get("commands", [])))
        server.notify("initialized", {})
        for number in range(num_messages):
            server.send(server.maker.next())
            if number % BATCH == BATCH - 1:
                server.send(server.maker.ping())
                server.settle()
        server.settle()

        # It is as good as new: a well-behaved client gets its completion.
        text = "x = "
        item = {"uri": "file:///project/last.py", "languageId": "python", "version": 1}
        server.notify("workspace/didChangeConfiguration", {"settings": {"nemodiff": {}}})
        server.notify("textDocument/didOpen", {"textDocument": {**item, "text": text}})
        asked = {**inline_request(0, 4, 1), "textDocument": {"uri": item["uri"]}}
        answer = server.request("textDocument/inlineCompletion", asked, "the last")
        assert "result" in answer, answer
        code = server.finish()
        twice = [key for key, number in server.num_answers.items() if number > 1]
        assert not twice, f"seed {seed}: answered more than once: {twice[:5]}"
        assert code == 0
        assert "Traceback" not in server.stderr(), f"seed {seed}: {server.stderr()[-3000:]}"


@pytest.mark.parametrize("seed", SEEDS)
def test_no_message_stops_or_confuses_the_server(
    engine: FakeEngine, socket_path: Path, seed: int
) -> None:
    fuzz(socket_path, seed, NUM_QUICK)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_hundred_thousand_messages(engine: FakeEngine, socket_path: Path) -> None:
    seed = int(_SEED or random.SystemRandom().randrange(10**6))
    print(f"seed {seed}")
    fuzz(socket_path, seed, NUM_SLOW)


@pytest.mark.parametrize("seed", range(8))
def test_any_order_around_the_start_and_the_end(
    engine: FakeEngine, socket_path: Path, seed: int
) -> None:
    """Requests before initialize and after shutdown, a second initialize, an early exit."""
    drawn = random.Random(seed)
    with RawServer(*arguments_for(socket_path)) as server:
        initialize = {"processId": None, "rootUri": None, "capabilities": {}}
        steps: list[tuple[str, Any, bool]] = [
            ("initialize", initialize, True),
            ("initialized", {}, False),
            ("textDocument/inlineCompletion", inline_request(0, 0), True),
            ("textDocument/didOpen", {"textDocument": {"uri": "file:///a.py"}}, False),
            ("initialize", initialize, True),
            ("workspace/executeCommand", {"command": "nemodiff.why"}, True),
            ("shutdown", None, True),
        ]
        drawn.shuffle(steps)
        for number, (method, params, is_request) in enumerate(steps):
            if is_request:
                answer = server.request(method, params, f"{number}")
                assert ("result" in answer) != ("error" in answer)
            else:
                server.notify(method, params)
        server.notify("exit", None)
        # 0 only after a shutdown that the protocol allows, which needs an initialize before it.
        assert server.process.wait(GUARD_S) in (0, 1)
        assert "Traceback" not in server.stderr()
