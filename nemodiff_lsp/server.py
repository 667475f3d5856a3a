"""The language server: its handlers, from a keystroke to the answer. Built by `__main__.py`.

Handlers of requests are async and never threaded: only so can they be cancelled. Answers: null
when superseded or stale, an empty list when there is nothing to show, -32800 (by pygls) when the
client cancels; never an error for a failing engine, because editors show those on each keystroke.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING
from urllib.parse import unquote

from lsprotocol import types
from pygls.lsp.server import LanguageServer
from pygls.workspace import TextDocument

from engine import __version__
from nemodiff_lsp.engine_link import EngineLink, EngineOptions
from nemodiff_lsp.items import build_items
from nemodiff_lsp.protocol import NemoDiffProtocol, make_converter
from nemodiff_lsp.request import build_request
from nemodiff_lsp.session import Sessions, SupersededError
from nemodiff_lsp.settings import SECTION, Settings, parse_settings, section_of
from nemodiff_lsp.snapshot import Snapshot, take_snapshot

if TYPE_CHECKING:
    from pygls.server import ServerErrors

logger = logging.getLogger(__name__)

_NOTHING = types.InlineCompletionList(items=[])


class NemoDiffServer(LanguageServer):
    """pygls' server with our state: settings, the requests in flight, the way to the engine."""

    def __init__(self, engine: EngineOptions) -> None:
        super().__init__(
            "nemodiff",
            __version__,
            text_document_sync_kind=types.TextDocumentSyncKind.Full,
            protocol_cls=NemoDiffProtocol,
            converter_factory=make_converter,
        )
        self.settings = Settings()
        self.initial_values: object = None
        self.sessions = Sessions()
        self.link = EngineLink(engine, self.tell, self.show)

    @property
    def has_shutdown_arrived(self) -> bool:
        """Whether the client has said ``shutdown``."""
        return isinstance(self.protocol, NemoDiffProtocol) and self.protocol.has_shutdown_arrived

    def tell(self, kind: types.MessageType, message: str) -> None:
        """Write a line to the editor's log of this server (window/logMessage)."""
        self.window_log_message(types.LogMessageParams(type=kind, message=message))

    def show(self, kind: types.MessageType, message: str) -> None:
        """Show a message to the user (window/showMessage), which many editors do with a popup."""
        self.window_show_message(types.ShowMessageParams(type=kind, message=message))

    def report_server_error(self, error: Exception, source: ServerErrors) -> None:
        """Log the kind of an error outside any request: no popup, and no message (user's text)."""
        logger.error("A message could not be handled (%s).", type(error).__name__)

    def open_document(self, uri: str) -> TextDocument | None:
        """The document if the client has opened it (pygls would read any other from the disk)."""
        documents: dict[str, TextDocument] = self.workspace.text_documents
        return documents.get(unquote(uri))

    def is_current(self, snapshot: Snapshot) -> bool:
        """Whether the document is still the one that the snapshot was taken from."""
        document = self.open_document(snapshot.uri)
        return document is not None and document.version == snapshot.version

    def apply_settings(self, values: object) -> None:
        """Use the settings in `values`; tell the user of each one that cannot be used."""
        self.settings, problems = parse_settings(values)
        for problem in problems:
            logger.warning("%s", problem)
            self.show(types.MessageType.Warning, problem)


def create_server(engine: EngineOptions) -> NemoDiffServer:
    """A server with all its handlers, ready for start_io."""
    server = NemoDiffServer(engine)
    server.feature(types.INITIALIZE)(_initialize)
    server.feature(types.INITIALIZED)(_initialized)
    server.feature(types.WORKSPACE_DID_CHANGE_CONFIGURATION)(_did_change_configuration)
    server.feature(types.TEXT_DOCUMENT_DID_OPEN)(_did_open)
    server.feature(types.TEXT_DOCUMENT_DID_CHANGE)(_did_change)
    server.feature(types.TEXT_DOCUMENT_DID_CLOSE)(_did_close)
    server.feature(types.SHUTDOWN)(_shutdown)
    # Without the options object pygls does not announce the capability.
    options = types.InlineCompletionOptions()
    server.feature(types.TEXT_DOCUMENT_INLINE_COMPLETION, options)(_inline_completion)
    return server


def _initialize(ls: NemoDiffServer, params: types.InitializeParams) -> None:
    values = params.initialization_options
    section = section_of(values)
    ls.initial_values = values if section is None else section


def _initialized(ls: NemoDiffServer, params: types.InitializedParams) -> None:
    # Not in the request before, because a client may show no message until it has its answer.
    ls.apply_settings(ls.initial_values)
    ls.link.start()


def _did_change_configuration(
    ls: NemoDiffServer, params: types.DidChangeConfigurationParams
) -> None:
    section = section_of(params.settings)
    if isinstance(section, dict) and isinstance(ls.initial_values, dict):
        section = {**ls.initial_values, **section}
    # Clients also send this for other servers' sections, and without any when they want us to ask.
    if section is not None:
        ls.apply_settings({SECTION: section})


def _did_open(ls: NemoDiffServer, params: types.DidOpenTextDocumentParams) -> None:
    ls.sessions.supersede(params.text_document.uri)


def _did_change(ls: NemoDiffServer, params: types.DidChangeTextDocumentParams) -> None:
    # The answer would be stale: free the engine at once.
    ls.sessions.supersede(params.text_document.uri)


def _did_close(ls: NemoDiffServer, params: types.DidCloseTextDocumentParams) -> None:
    ls.sessions.supersede(params.text_document.uri)


async def _shutdown(ls: NemoDiffServer, params: None) -> None:
    ls.sessions.supersede_all()
    await ls.link.close()


async def _inline_completion(
    ls: NemoDiffServer, params: types.InlineCompletionParams
) -> types.InlineCompletionList | None:
    try:
        return await _complete(ls, params)
    except SupersededError:
        return None
    except Exception as error:
        # The last resort: an error reply would be shown to the user on every keystroke.
        logger.error("A completion failed (%s).", type(error).__name__)
        logger.debug("The failed completion:", exc_info=True)
        return _NOTHING


async def _complete(
    ls: NemoDiffServer, params: types.InlineCompletionParams
) -> types.InlineCompletionList | None:
    document = ls.open_document(params.text_document.uri)
    settings = ls.settings
    if document is None or not settings.enabled:
        return _NOTHING
    snapshot = take_snapshot(
        document,
        params.position,
        params.context.selected_completion_info,
        max_prefix_chars=settings.max_prefix_chars,
        max_suffix_chars=settings.max_suffix_chars,
    )
    request = build_request(snapshot, settings, params.context.trigger_kind)
    completion = await ls.sessions.run_newest(snapshot.uri, ls.link.complete(request))
    if not ls.is_current(snapshot):
        return None
    if completion is None:
        return _NOTHING
    facts = completion.facts
    logger.info("%s, %d tokens, %d forwards.", facts.mode, facts.tokens, facts.forwards)
    return build_items(snapshot, completion, request.n)
