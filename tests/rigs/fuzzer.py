"""Messages that a language server may get but should not have to: used by test_lsp_fuzz.py.

Half of them are right by the protocol's schema; the rest are right ones with a fault in them, or no
messages at all. Everything follows from a seed.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Key = tuple[str, str]
"""An id as the protocol sees it: the type matters, 5 is not "5"."""

URIS = [f"file:///project/file_{number}.py" for number in range(5)]
ODD_URIS = ["", "file://", "file:///%ZZ%00.py", "untitled:Untitled-1", "git:/a.py?x", "a.py", "\0"]
TEXTS = [
    "",
    "x = ",
    "def f(a, b):\n    return a + b\n\n\nclass C:\n    def g(self) -> None:\n        ",
    "caf\u00e9 = '\U0001f600\U0001f680'\r\nnext = '\u4e2d\u6587'\r\n",
    "a\rb\r\nc\nd\u2028e\x0cf",
    "\ufeffbom = 1\n" + "y" * 3000,
    "lone \ud800 surrogate",
    "\0binary\x01",
    "\t\t\t\n" * 50,
]
ODD_VALUES: list[Any] = [
    *(None, True, False, 0, -1, 1, 2, 3, 7, 2**31 - 1, 2**31, 2**63, -(2**63), 10**40),
    *(0.5, -0.0, 1e308, float("nan"), float("inf"), "", "x", "1", "\ud800", "\0", "\u202e" * 10),
    *([], {}, [[]], [None], {"": None}, {"items": 7}, "y" * 5000),
]
METHODS_UNKNOWN = ["textDocument/hover", "no/such", "", "$/odd", "initialize", "nemodiff/unknown"]
SETTINGS = {
    "enabled": [True, False],
    "mode": ["auto", "ar", "psychic"],
    "maxTokens": [1, 64, 100_000],
    "deadlineMs": [1, 400, -5],
    "prefetch": [True, False],
    "reuse": [True, False],
    "speculativeStart": [True, False],
    "disabledLanguages": [[], ["lua"], "python"],
    "\u00e9": [1],
}


@dataclass(frozen=True, slots=True)
class Sent:
    """One message. key: its id, if it has one and is no answer; is_owed: exactly one answer."""

    body: bytes
    key: Key | None = None
    is_owed: bool = False


def key_of(msg_id: object) -> Key:
    return type(msg_id).__name__, str(msg_id)


class MessageMaker:
    """An endless stream of messages; equal seeds give equal streams."""

    def __init__(self, seed: int, commands: list[str]) -> None:
        self._random = random.Random(seed)
        self._commands = [*commands, "no.such.command"]
        self._next_id = 0
        self._version = 0
        self._asked: list[int | str] = []
        self._makers: list[Callable[[], dict[str, Any]]] = [
            *[self._inline] * 8,
            *[self._change] * 8,
            *(self._open, self._open, self._close, self._save),
            *(self._cancel, self._cancel, self._configuration, self._command, self._copilot),
            *(self._completion, self._code_action, self._notebook, self._folders),
            *(self._unknown, self._answer, self._progress),
        ]

    def next(self) -> Sent:
        kind = self._random.random()
        message: Any = self._random.choice(self._makers)()
        if 0.5 <= kind < 0.95:
            for _ in range(self._random.choice([1, 1, 1, 2, 5])):
                message = self._spoilt(message)
        elif kind >= 0.95:
            return Sent(self._junk(message))
        return _sent(message)

    def ping(self) -> Sent:
        """A right request on a document that may or may not be open."""
        return _sent(self._inline())

    def reply_to(self, message: dict[str, Any]) -> bytes | None:
        """A client's answer to the server's own question: right, wrong, odd, or none at all."""
        kind = self._random.random()
        if kind < 0.2:
            return None
        if kind < 0.4:
            error = {"code": -32601, "message": "No."}
            return _encoded({"jsonrpc": "2.0", "id": message["id"], "error": error})
        result = None if kind < 0.8 else self._odd()
        return _encoded({"jsonrpc": "2.0", "id": message["id"], "result": result})

    def chunks(self, data: bytes) -> list[bytes]:
        """The same bytes, now and then in pieces as a slow pipe would bring them."""
        if self._random.random() < 0.9:
            return [data]
        cuts = sorted(self._random.randrange(len(data) + 1) for _ in range(3))
        return [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]

    def _request(self, method: str, params: Any) -> dict[str, Any]:
        self._next_id += 1
        number = self._next_id
        msg_id: int | str = f"s{number}" if self._random.random() < 0.3 else number
        self._asked = [*self._asked[-20:], msg_id]
        return {"jsonrpc": "2.0", "id": msg_id, "method": method, "params": params}

    def _notification(self, method: str, params: Any) -> dict[str, Any]:
        return {"jsonrpc": "2.0", "method": method, "params": params}

    def _uri(self) -> str:
        return self._random.choice(URIS * 4 + ODD_URIS)

    def _position(self) -> dict[str, Any]:
        numbers = [*range(8)] * 4 + [80, 5000, 2**31 - 1]
        return {"line": self._random.choice(numbers), "character": self._random.choice(numbers)}

    def _range(self) -> dict[str, Any]:
        return {"start": self._position(), "end": self._position()}

    def _at(self) -> dict[str, Any]:
        return {"textDocument": {"uri": self._uri()}, "position": self._position()}

    def _inline(self) -> dict[str, Any]:
        context: dict[str, Any] = {"triggerKind": self._random.choice([0, 1, 2, 2, 2, 9])}
        if self._random.random() < 0.2:
            text = self._random.choice(TEXTS)
            context["selectedCompletionInfo"] = {"range": self._range(), "text": text}
        return self._request("textDocument/inlineCompletion", {**self._at(), "context": context})

    def _completion(self) -> dict[str, Any]:
        return self._request("textDocument/completion", self._at())

    def _open(self) -> dict[str, Any]:
        self._version += 1
        language = self._random.choice(["python", "lua", "", "no-language"])
        item = {"uri": self._uri(), "languageId": language, "version": self._version}
        item["text"] = self._random.choice(TEXTS)
        return self._notification("textDocument/didOpen", {"textDocument": item})

    def _change(self) -> dict[str, Any]:
        self._version += self._random.choice([1, 1, 1, 0, -3])
        changes: list[dict[str, Any]] = []
        for _ in range(self._random.choice([1, 1, 2, 0])):
            change: dict[str, Any] = {"text": self._random.choice(["x", "y = ", "\n", *TEXTS])}
            if self._random.random() < 0.7:
                change["range"] = self._range()
            changes.append(change)
        identifier = {"uri": self._uri(), "version": self._version}
        params = {"textDocument": identifier, "contentChanges": changes}
        return self._notification("textDocument/didChange", params)

    def _close(self) -> dict[str, Any]:
        identifier = {"uri": self._uri()}
        return self._notification("textDocument/didClose", {"textDocument": identifier})

    def _save(self) -> dict[str, Any]:
        return self._notification("textDocument/didSave", {"textDocument": {"uri": self._uri()}})

    def _cancel(self) -> dict[str, Any]:
        msg_id = self._random.choice([*self._asked, 10**6, "never asked"])
        return self._notification("$/cancelRequest", {"id": msg_id})

    def _configuration(self) -> dict[str, Any]:
        chosen = self._random.sample(sorted(SETTINGS), 3)
        values = {name: self._random.choice(SETTINGS[name]) for name in chosen}
        settings = {"nemodiff": values} if self._random.random() < 0.7 else values
        params = {"settings": settings}
        return self._notification("workspace/didChangeConfiguration", params)

    def _command(self) -> dict[str, Any]:
        arguments = [self._random.choice([*URIS, *ODD_VALUES]) for _ in range(3)]
        params = {"command": self._random.choice(self._commands)}
        params["arguments"] = arguments[: self._random.randrange(4)]  # type: ignore[assignment]
        return self._request("workspace/executeCommand", params)

    def _code_action(self) -> dict[str, Any]:
        params = {"textDocument": {"uri": self._uri()}, "range": self._range()}
        return self._request("textDocument/codeAction", {**params, "context": {"diagnostics": []}})

    def _copilot(self) -> dict[str, Any]:
        if self._random.random() < 0.3:
            return self._request("checkStatus", {})
        item = {"insertText": self._random.choice(TEXTS), "range": self._range()}
        name, params = self._random.choice(
            [
                ("textDocument/didFocus", {"textDocument": {"uri": self._uri()}}),
                ("textDocument/didShowCompletion", {"item": item}),
                (
                    "textDocument/didPartiallyAcceptCompletion",
                    {"item": item, "acceptedLength": self._random.randrange(-2, 40)},
                ),
            ]
        )
        return self._notification(name, params)

    def _notebook(self) -> dict[str, Any]:
        cell = f"vscode-notebook-cell:/project/n.ipynb#{self._random.randrange(3)}"
        document = {"uri": "file:///project/n.ipynb", "version": self._version}
        item = {"uri": cell, "languageId": "python", "version": 1, "text": "x = "}
        opened = {
            "notebookDocument": {
                **document,
                "notebookType": "jupyter-notebook",
                "cells": [{"kind": 2, "document": cell}],
            },
            "cellTextDocuments": [item],
        }
        changed = {
            "notebookDocument": document,
            "change": {"cells": {"structure": {"array": {"start": 0, "deleteCount": 9}}}},
        }
        closed = {"notebookDocument": {"uri": document["uri"]}, "cellTextDocuments": []}
        kinds = [("Open", opened), ("Change", changed), ("Close", closed)]
        kind, params = self._random.choice(kinds)
        return self._notification(f"notebookDocument/did{kind}", params)

    def _folders(self) -> dict[str, Any]:
        folder = {"uri": self._random.choice(["file:///project", *ODD_URIS]), "name": "n"}
        sides = [[folder], []]
        self._random.shuffle(sides)
        event = dict(zip(("added", "removed"), sides, strict=True))
        return self._notification("workspace/didChangeWorkspaceFolders", {"event": event})

    def _unknown(self) -> dict[str, Any]:
        method = self._random.choice(METHODS_UNKNOWN)
        make = self._request if self._random.random() < 0.5 else self._notification
        return make(method, self._odd())

    def _answer(self) -> dict[str, Any]:
        """An answer to something that the server may never have asked."""
        msg_id = self._random.choice(["1", 1, "no-such", None, "00000000-0000"])
        return {"jsonrpc": "2.0", "id": msg_id, "result": self._odd()}

    def _progress(self) -> dict[str, Any]:
        token = self._random.choice([1, "t", "nemodiff"])
        methods = ["window/workDoneProgress/cancel", "$/progress", "$/setTrace", "initialized"]
        params = {"token": token, "value": self._odd()}
        return self._notification(self._random.choice(methods), params)

    def _odd(self) -> Any:
        return self._random.choice(ODD_VALUES)

    def _spoilt(self, value: Any) -> Any:
        """`value` with one node replaced, removed, added, or wrapped."""
        if isinstance(value, dict) and value and self._random.random() < 0.85:
            name = self._random.choice(sorted(value))
            # Without its method it would be no request; the rest of it is what may be wrong.
            if name in ("method", "jsonrpc") and self._random.random() < 0.8:
                name = "params" if "params" in value else name
            kind = self._random.random()
            if kind < 0.15:
                return {other: each for other, each in value.items() if other != name}
            if kind < 0.25:
                return {**value, self._random.choice(["extra", "", "params"]): self._odd()}
            return {**value, name: self._spoilt(value[name])}
        if isinstance(value, list) and value and self._random.random() < 0.7:
            index = self._random.randrange(len(value))
            return [*value[:index], self._spoilt(value[index]), *value[index + 1 :]]
        return self._odd()

    def _junk(self, message: dict[str, Any]) -> bytes:
        """A body that is no message."""
        encoded = _encoded(message)
        cut = self._random.randrange(len(encoded))
        return self._random.choice(
            [
                b"",
                b"{",
                b"null",
                b"[]",
                b"[" + encoded + b"]",
                b"[1,2]",
                b'"text"',
                b"-1",
                b"\xff\xfe\x00",
                encoded[:cut],
                encoded[:cut] + b"\x80" + encoded[cut:],
                b"[" * 20_000 + b"]" * 20_000,
                b'{"jsonrpc": "2.0", "method": "x", "params": ' + b"[" * 5000 + b"]" * 5000 + b"}",
                b'{"jsonrpc": "2.0", "id": {}, "method": "no/such"}',
                b'{"jsonrpc": "2.0", "id": null, "method": "no/such"}',
                b'{"jsonrpc": "2.0", "id": 1.5, "method": "no/such", "params": {}}',
                b'{"a": 1, "a": 2}',
            ]
        )


def _encoded(message: Any) -> bytes:
    # Lone surrogates as escapes, as clients written in JavaScript send them.
    return json.dumps(message).encode("ascii")


def _sent(message: Any) -> Sent:
    """What is owed to `message`: one answer to a request, whatever its parameters are."""
    body = _encoded(message)
    if not isinstance(message, dict) or "method" not in message or "id" not in message:
        return Sent(body)
    msg_id, method = message["id"], message["method"]
    is_id = isinstance(msg_id, (int, str)) and not isinstance(msg_id, bool)
    is_call = message.get("jsonrpc") == "2.0" and isinstance(method, str)
    return Sent(body, key_of(msg_id), is_id and is_call and method not in ("shutdown", "exit"))
