"""Replay: a simulated user types a sitting of the trace into a real language server.

Called by `comparison.py`. Accepts an offer when it is what comes next, types on otherwise, and
records what each keystroke got and what it cost.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import Any, Literal

from nemodiff_lsp.bench.document import Document
from nemodiff_lsp.bench.lsp_client import LspClient, Reply
from nemodiff_lsp.bench.tap import Tap
from nemodiff_lsp.bench.typing_trace import Sitting
from nemodiff_lsp.bench.typist import Typist

Style = Literal["vscode", "neovim"]
CLIENT_NAMES: dict[Style, str] = {"vscode": "Visual Studio Code", "neovim": "Neovim"}
WAIT_S: dict[Style, float] = {"vscode": 0.05, "neovim": 0.2}
"""How long each client waits for another key before it asks."""

Source = Literal["engine", "speculation", "without", "overtaken"]


@dataclass(frozen=True, slots=True)
class Habits:
    """How the user types. keys_per_s: None = the next key comes with the reply.

    min_accepted_chars: a shorter offer is quicker typed than judged.
    """

    style: Style = "vscode"
    keys_per_s: float | None = None
    min_accepted_chars: int = 2


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one keystroke got. latency_ms: from the keystroke to the reply.

    source: ``engine`` when a request for it reached the engine, ``speculation`` when background
    work for it ended between the keystroke and the reply, ``without`` when neither, ``overtaken``
    when the next key came first.
    """

    source: Source
    has_text: bool
    latency_ms: float


@dataclass(slots=True)
class Log:
    """What happened in the sittings of one variant."""

    num_keys: int = 0
    num_inserted_chars: int = 0
    num_accepted: int = 0
    num_accepted_chars: int = 0
    num_errors: int = 0
    outcomes: list[Outcome] = field(default_factory=list)


class User:
    """Types into one server; `tap` sees what that server asks of its engine."""

    def __init__(self, client: LspClient, tap: Tap, habits: Habits, log: Log) -> None:
        self._client, self._tap, self._habits, self._log = client, tap, habits, log
        self._overtaken: list[asyncio.Future[Reply]] = []
        self._to_cancel: int | None = None

    async def sit(self, sitting: Sitting, uri: str) -> None:
        """Make all edits of `sitting`. Raises ServerGone."""
        document = Document(self._client, uri, sitting.language_id, sitting.base)
        typist = Typist(sitting.base, sitting.edits)
        while (key := typist.next_key()) is not None:
            self._log.num_keys += 1
            began_s = time.perf_counter()
            document.change(typist.cursor - key.num_deleted, typist.cursor, key.inserted)
            self._cancel_overtaken()
            typist.press(key)
            items = await self._ask(document, typist.cursor, began_s)
            while self._accept(document, typist, items):
                # Tab is a key, too, and the editor asks again after it.
                self._log.num_keys += 1
                items = await self._ask(document, typist.cursor, time.perf_counter())
        self._cancel_overtaken()
        assert document.text == typist.text == sitting.result()
        self._log.num_inserted_chars += sum(len(edit.inserted) for edit in sitting.edits)
        document.close()
        replies = await asyncio.gather(*self._overtaken)
        self._overtaken.clear()
        self._log.num_errors += sum(
            reply.error is not None and reply.error["code"] != -32800 for reply in replies
        )

    def _accept(self, document: Document, typist: Typist, items: list[dict[str, Any]]) -> bool:
        """Take the first offer if it is right."""
        if not items:
            return False
        cursor = typist.cursor
        offered = document.with_item(items[0], cursor)
        num_chars = typist.take(offered, self._habits.min_accepted_chars)
        if not num_chars:
            return False
        document.change(cursor, cursor, typist.text[cursor : typist.cursor])
        command = items[0].get("command")
        if command is not None:
            params = {"command": command["command"], "arguments": command.get("arguments", [])}
            self._overtaken.append(self._client.ask("workspace/executeCommand", params)[1])
        self._log.num_accepted += 1
        self._log.num_accepted_chars += num_chars
        return True

    async def _ask(self, document: Document, cursor: int, began_s: float) -> list[dict[str, Any]]:
        """Ask after a key that was pressed at `began_s`; the items, if they come in time."""
        rate = self._habits.keys_per_s
        next_key_s = None if rate is None else began_s + 1.0 / rate
        ask_s = began_s + WAIT_S[self._habits.style]
        if next_key_s is not None and next_key_s < ask_s:
            await _until(next_key_s)
            return []
        await _until(ask_s)
        asked_s = time.perf_counter()
        msg_id, future = document.ask(cursor)
        if next_key_s is not None:
            await asyncio.wait({future}, timeout=next_key_s - time.perf_counter())
            if not future.done():
                self._overtake(msg_id, future, began_s)
                return []
        reply = await future
        items = _items(reply)
        self._log.num_errors += reply.error is not None
        latency_ms = (reply.arrived_s - began_s) * 1000.0
        source = self._source(began_s, asked_s, reply.arrived_s)
        self._log.outcomes.append(Outcome(source, bool(items), latency_ms))
        if next_key_s is not None:
            await _until(next_key_s)
        return items

    def _overtake(self, msg_id: int, future: asyncio.Future[Reply], began_s: float) -> None:
        if self._habits.style == "vscode":
            # Neovim leaves the older request running.
            self._to_cancel = msg_id
        self._overtaken.append(future)
        waited_ms = (time.perf_counter() - began_s) * 1000.0
        self._log.outcomes.append(Outcome("overtaken", False, waited_ms))

    def _cancel_overtaken(self) -> None:
        """As VS Code does: upon the change of the text, but after telling it to the extensions."""
        if self._to_cancel is not None:
            self._client.cancel(self._to_cancel)
            self._to_cancel = None

    def _source(self, began_s: float, asked_s: float, arrived_s: float) -> Source:
        """Where the answer came from, judged by what reached the engine in the meantime."""
        source: Source = "without"
        for seen in self._tap.since(began_s):
            began, ended = seen.began_s, seen.ended_s
            if seen.priority != "speculative" and began_s <= began <= arrived_s:
                return "engine"
            if seen.forwards is None or ended is None or ended > arrived_s:
                continue
            # Begun for this very key, or ended only after the question: the answer waited for it.
            if began >= began_s or ended > asked_s:
                source = "speculation"
        return source


def _items(reply: Reply) -> list[dict[str, Any]]:
    result = reply.result
    if isinstance(result, dict):
        result = result["items"]
    return list(result or [])


async def _until(time_s: float) -> None:
    """Wait until time.perf_counter() is `time_s`: the user's own pace."""
    await asyncio.sleep(max(0.0, time_s - time.perf_counter()))
