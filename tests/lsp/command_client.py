"""CommandClient: a hand-made client of `command_server.py`, or of the real language server.

Answers what the server asks of it, applies the edits that it is sent, and keeps what it was told.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from raw_server import RawServer

URI = "file:///project/example.py"
HERE = Path(__file__).parent

CAPABILITIES: dict[str, Any] = {
    "workspace": {
        "applyEdit": True,
        "workspaceEdit": {"documentChanges": True, "changeAnnotationSupport": {}},
    },
    "textDocument": {
        "codeAction": {"codeActionLiteralSupport": {"codeActionKind": {"valueSet": []}}}
    },
    "window": {"workDoneProgress": True},
}


class CommandClient(RawServer):
    """applies: whether it accepts edits; answers: whether it answers the server's requests."""

    def __init__(self, *arguments: str, program: tuple[str, ...] | None = None) -> None:
        program = program or (str(HERE / "command_server.py"),)
        super().__init__(*arguments, program=program)
        self.applies = True
        self.edits: list[dict[str, Any]] = []
        self._next_id = 100

    def start(self, capabilities: dict[str, Any] | None = None, **params: Any) -> dict[str, Any]:
        given = CAPABILITIES if capabilities is None else capabilities
        answer = self.call(
            "initialize", {"processId": None, "rootUri": None, "capabilities": given, **params}
        )
        self.notify("initialized", {})
        return answer

    def open(self, text: str, uri: str = URI, language: str = "python", version: int = 1) -> None:
        item = {"uri": uri, "languageId": language, "version": version, "text": text}
        self.notify("textDocument/didOpen", {"textDocument": item})

    def change(self, text: str, version: int, uri: str = URI) -> None:
        document = {"uri": uri, "version": version}
        changes = [{"text": text}]
        self.notify("textDocument/didChange", {"textDocument": document, "contentChanges": changes})

    def send(self, method: str, params: Any) -> int:
        """Send a request without waiting for its answer; its id."""
        self._next_id += 1
        message = {"jsonrpc": "2.0", "id": self._next_id, "method": method, "params": params}
        self.send_bytes(json.dumps(message).encode())
        return self._next_id

    def call(self, method: str, params: Any) -> Any:
        """The result of a request. An error fails the test."""
        answer = self.answer(self.send(method, params))
        assert "error" not in answer, answer["error"]
        return answer["result"]

    def execute(self, command: str, *arguments: Any, **more: Any) -> Any:
        params = {"command": command, "arguments": list(arguments), **more}
        return self.call("workspace/executeCommand", params)

    def read(self) -> dict[str, Any]:
        """The next message; requests of the server are answered on the way."""
        message = super().read()
        if "id" in message and "method" in message:
            self.notes.append(message)
            result: Any = None
            if message["method"] == "workspace/applyEdit":
                self.edits.append(message["params"])
                result = {"applied": self.applies}
            reply = {"jsonrpc": "2.0", "id": message["id"], "result": result}
            self.send_bytes(json.dumps(reply).encode())
            return self.read()
        return message

    def wait_for(self, method: str) -> dict[str, Any]:
        """Params of the next message of `method` that has not been asked for yet."""
        while True:
            for index, note in enumerate(self.notes):
                if note.get("method") == method:
                    del self.notes[index]
                    params: dict[str, Any] = note["params"]
                    return params
            self.notes.append(self.read())

    def told(self, method: str) -> list[Any]:
        """Params of all messages of `method` so far, which a last round trip has flushed."""
        return [note["params"] for note in self.notes if note.get("method") == method]

    def messages(self) -> list[str]:
        """What the user has been shown."""
        return [params["message"] for params in self.told("window/showMessage")]

    def recorded(self) -> list[Any]:
        return self.told("test/recorded")


def applied(text: str, params: dict[str, Any]) -> str:
    """`text` with a workspace edit's changes to its only document (UTF-16 positions)."""
    edit = params["edit"]
    if "documentChanges" in edit:
        (change,) = edit["documentChanges"]
        edits = change["edits"]
    else:
        (edits,) = edit["changes"].values()
    lines = [*text.splitlines(keepends=True), ""]
    starts = [sum(len(line) for line in lines[:number]) for number in range(len(lines))]

    def offset(position: dict[str, int]) -> int:
        line = lines[position["line"]].encode("utf-16-le")
        before = line[: 2 * position["character"]].decode("utf-16-le")
        return starts[position["line"]] + len(before)

    places = [
        (offset(each["range"]["start"]), offset(each["range"]["end"]), each["newText"])
        for each in edits
    ]
    for start, end, new in sorted(places, reverse=True):
        text = text[:start] + new + text[end:]
    return text
