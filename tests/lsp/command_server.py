"""A language server of the commands alone, over stdio: no pipeline, scripted offers and policy.

What the commands tell the statistics comes back as ``test/recorded`` notifications. Texts that hold
``SECRET`` are excluded. The offer is what the client sets with ``test/offer``.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any
from urllib.parse import unquote

from lsprotocol import types
from pygls.lsp.server import LanguageServer
from pygls.workspace import TextDocument

from engine.messages.address import EngineAddress
from nemodiff_lsp import copilot
from nemodiff_lsp.commands import commands
from nemodiff_lsp.completion.why import WhyLog
from nemodiff_lsp.link.engine_link import EngineLink, EngineOptions
from nemodiff_lsp.protocol import NemoDiffProtocol, make_converter
from nemodiff_lsp.settings.settings import Settings
from nemodiff_lsp.status import Status, wants_our_status
from nemodiff_lsp.switches import Switches


@dataclass(frozen=True)
class Offer:
    id: str
    text: str
    position: types.Position
    version: int | None


class Recorder:
    def __init__(self, server: CommandServer) -> None:
        self._server = server

    def __getattr__(self, name: str) -> Any:
        return lambda *values: self._server.protocol.notify("test/recorded", [name, *values])


class CommandServer(LanguageServer):
    """Everything that `nemodiff_lsp.commands.host.Host` asks for, and no more."""

    def __init__(self, socket: str) -> None:
        super().__init__(
            "commands",
            "1",
            text_document_sync_kind=types.TextDocumentSyncKind.Incremental,
            protocol_cls=NemoDiffProtocol,
            converter_factory=make_converter,
        )
        self.settings = Settings()
        self.status = Status(lambda method, params: self.protocol.notify(method, params))
        self.why = WhyLog()
        self.switches = Switches()
        self.recorder = Recorder(self)
        self.policy = self
        self.offers = self
        self.offer: Offer | None = None
        self.completer = SimpleNamespace(on_settings=lambda settings: None)
        options = EngineOptions(EngineAddress.parse(socket), may_start=False)
        self.link = EngineLink(options, self.tell, self.show)

    def judge(self, uri: str, text: str | None, *, language_id: str | None = None) -> Any:
        is_secret = "SECRET" in (text or "")
        reason = "This file is excluded: it holds a secret." if is_secret else ""
        return SimpleNamespace(is_allowed=not is_secret, reason=reason)

    def current(self, uri: str) -> Offer | None:
        return self.offer

    def focused(self, uri: str) -> None:
        self.protocol.notify("test/recorded", ["focused", uri])

    def open_document(self, uri: str) -> TextDocument | None:
        documents: dict[str, TextDocument] = self.workspace.text_documents
        return documents.get(unquote(uri))

    def tell(self, kind: types.MessageType, message: str) -> None:
        self.window_log_message(types.LogMessageParams(type=kind, message=message))

    def show(self, kind: types.MessageType, message: str) -> None:
        self.window_show_message(types.ShowMessageParams(type=kind, message=message))


def main(socket: str) -> None:
    server = CommandServer(socket)
    table = commands.register(server)
    copilot.register(server)

    def initialize(params: types.InitializeParams) -> None:
        options = params.initialization_options
        server.status.announce(
            knows_copilots=isinstance(options, dict) and "editorInfo" in options,
            knows_ours=wants_our_status(params),
        )
        table.client_name = params.client_info.name if params.client_info else ""
        server.link.subscribe(server.status.follow_engine)

    def offer(params: Any) -> None:
        position = types.Position(params.line, params.character)
        server.offer = Offer("offer-1", params.text, position, params.version)

    async def inline(params: types.InlineCompletionParams) -> types.InlineCompletionList:
        at = types.Range(params.position, params.position)
        is_invoked = params.context.trigger_kind is types.InlineCompletionTriggerKind.Invoked
        return types.InlineCompletionList(
            [
                types.InlineCompletionItem(
                    insert_text=text, range=at, command=commands.item_command(f"id-{text}", 3)
                )
                for text in ("one", "two", "six")[: 3 if is_invoked else 1]
            ]
        )

    server.feature(types.INITIALIZE)(initialize)
    server.feature("test/offer")(offer)
    options = types.InlineCompletionOptions()
    server.feature(types.TEXT_DOCUMENT_INLINE_COMPLETION, options)(inline)
    server.start_io()


if __name__ == "__main__":
    main(sys.argv[1])
