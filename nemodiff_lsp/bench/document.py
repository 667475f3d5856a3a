"""Document: an open file as an editor keeps it in step with the server. Used by the benches."""

from __future__ import annotations

from typing import Any

from nemodiff_lsp.bench.lsp_client import INLINE, LspClient
from nemodiff_lsp.documents.positions import locate, num_units

Position = dict[str, int]

AUTOMATIC, INVOKED = 2, 1


class Document:
    """One open document; `close` ends it. Positions are UTF-16, which needs no negotiation."""

    def __init__(self, client: LspClient, uri: str, language_id: str, text: str) -> None:
        self._client = client
        self.uri = uri
        self.text = text
        self._version = 1
        # A place whose line is known, so that no keystroke counts the lines of the whole text.
        self._known_offset, self._known_line = 0, 0
        item = {"uri": uri, "languageId": language_id, "version": 1, "text": text}
        client.notify("textDocument/didOpen", {"textDocument": item})

    def change(self, start: int, end: int, inserted: str) -> None:
        """Replace the characters from `start` to `end`, and tell the server."""
        change: dict[str, Any] = {"text": inserted}
        if self._client.has_incremental_sync:
            change["range"] = {"start": self.position(start), "end": self.position(end)}
        self.text = self.text[:start] + inserted + self.text[end:]
        if self._known_offset > start:
            self._known_offset, self._known_line = 0, 0
        if "range" not in change:
            change["text"] = self.text
        self._version += 1
        identifier = {"uri": self.uri, "version": self._version}
        params = {"textDocument": identifier, "contentChanges": [change]}
        self._client.notify("textDocument/didChange", params)

    def inline_params(self, offset: int, trigger_kind: int = AUTOMATIC) -> dict[str, Any]:
        """Parameters of a request for an inline completion at `offset`."""
        return {
            "textDocument": {"uri": self.uri},
            "position": self.position(offset),
            "context": {"triggerKind": trigger_kind},
        }

    def ask(self, offset: int, trigger_kind: int = AUTOMATIC) -> Any:
        """Ask at `offset`; see LspClient.ask."""
        return self._client.ask(INLINE, self.inline_params(offset, trigger_kind))

    def with_item(self, item: dict[str, Any], cursor: int) -> str:
        """The text after accepting `item`, which was offered at `cursor`."""
        text = item["insertText"]
        inserted = text if isinstance(text, str) else str(text["value"])
        if item.get("range") is None:
            start = end = cursor
        else:
            start, end = (self._offset(item["range"][side]) for side in ("start", "end"))
        return self.text[:start] + inserted + self.text[end:]

    def close(self) -> None:
        params = {"textDocument": {"uri": self.uri}}
        self._client.notify("textDocument/didClose", params)

    def position(self, offset: int) -> Position:
        line_start = self.text.rfind("\n", 0, offset) + 1
        if line_start >= self._known_offset:
            line = self._known_line + self.text.count("\n", self._known_offset, line_start)
        else:
            line = self.text.count("\n", 0, line_start)
        self._known_offset, self._known_line = line_start, line
        return {"line": line, "character": num_units(self.text[line_start:offset], "utf-16")}

    def _offset(self, position: Position) -> int:
        return locate(self.text, position["line"], position["character"], "utf-16").offset
