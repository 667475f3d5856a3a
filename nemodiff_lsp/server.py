"""The language server: its parts, and its handlers for the life of a session. Built by
`__main__.py`.

Handlers of requests are async and never threaded: only so can they be cancelled. What is done for
documents is in `text_sync.py` and `inline.py`.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast
from urllib.parse import unquote

from lsprotocol import types
from pygls.lsp.server import LanguageServer
from pygls.workspace import TextDocument

from engine import __version__
from engine.messages.completion import Snippet
from nemodiff_lsp import copilot
from nemodiff_lsp.admission import Admission
from nemodiff_lsp.clients.profile import profile_for
from nemodiff_lsp.commands import commands
from nemodiff_lsp.completion import inline
from nemodiff_lsp.completion.completion import Completer
from nemodiff_lsp.completion.session import Sessions
from nemodiff_lsp.completion.why import WhyLog
from nemodiff_lsp.context.collector import ContextCollector, Cursor
from nemodiff_lsp.context.collector import Source as ContextSource
from nemodiff_lsp.documents import text_sync
from nemodiff_lsp.documents.documents import Document
from nemodiff_lsp.documents.notebooks import NOTEBOOKS, with_cells
from nemodiff_lsp.documents.snapshot import Snapshot, take_snapshot
from nemodiff_lsp.link.engine_link import EngineLink, EngineOptions
from nemodiff_lsp.privacy.policy import FilePolicy
from nemodiff_lsp.protocol import NemoDiffProtocol, make_converter
from nemodiff_lsp.reuse.offers import Offers
from nemodiff_lsp.settings import configuration
from nemodiff_lsp.settings.settings import SECTION, Settings, section_of
from nemodiff_lsp.settings.sources import SettingsSources
from nemodiff_lsp.stats.acceptance import Acceptance
from nemodiff_lsp.stats.recorder import Recorder
from nemodiff_lsp.stats.survival import Survival
from nemodiff_lsp.status import Status, wants_our_status
from nemodiff_lsp.stdio import serve
from nemodiff_lsp.switches import Switches

if TYPE_CHECKING:
    from pygls.server import ServerErrors

logger = logging.getLogger(__name__)

# How much of the text before the cursor other files are compared with.
_NEAR_CHARS = 2_000


class NemoDiffServer(LanguageServer):
    """pygls' server with our parts: settings, documents' admission, the pipeline, the engine."""

    def __init__(self, engine: EngineOptions) -> None:
        super().__init__(
            "nemodiff",
            __version__,
            text_document_sync_kind=types.TextDocumentSyncKind.Incremental,
            notebook_document_sync=NOTEBOOKS,
            protocol_cls=NemoDiffProtocol,
            converter_factory=make_converter,
        )
        self.settings = Settings()
        self.sources = SettingsSources()
        self.profile = profile_for(types.InitializeParams(types.ClientCapabilities()))
        self.sessions = Sessions()
        self.switches = Switches()
        self.why = WhyLog()
        self.status = Status(lambda method, params: self.protocol.notify(method, params))
        self.recorder = Recorder()
        self.acceptance = Acceptance(
            self.recorder, Survival(self.recorder, self._lines_of, _later), self._lines_of
        )
        self._engine = engine
        self.link = EngineLink(engine, self.tell, self.show)
        self.link.subscribe(self.status.follow_engine)
        self.completer = Completer(self)
        self._wants_status = False
        self._folders: tuple[Path, ...] = ()
        self._problems: list[str] = []
        self._kept: set[asyncio.Future[Any]] = set()
        self.commands: commands.Commands | None = None
        self._refresh()

    @property
    def has_shutdown_arrived(self) -> bool:
        """Whether the client has said ``shutdown``."""
        return isinstance(self.protocol, NemoDiffProtocol) and self.protocol.has_shutdown_arrived

    @property
    def offers(self) -> Offers:
        """What is offered in each document."""
        return self.completer.offers

    def start_io(self, stdin: BinaryIO | None = None, stdout: BinaryIO | None = None) -> None:
        """Serve on these streams until the client says ``exit`` or goes away."""
        serve(self, stdin or sys.stdin.buffer, stdout or sys.stdout.buffer)

    def tell(self, kind: types.MessageType, message: str) -> None:
        """Write a line to the editor's log of this server (window/logMessage)."""
        self.window_log_message(types.LogMessageParams(type=kind, message=message))

    def show(self, kind: types.MessageType, message: str) -> None:
        """Show a message to the user (window/showMessage), which many editors do with a popup."""
        self.window_show_message(types.ShowMessageParams(type=kind, message=message))

    def report_server_error(self, error: Exception, source: ServerErrors) -> None:
        """Log the kind of an error outside any request: no popup, and no message (user's text)."""
        logger.error("A message could not be handled (%s).", type(error).__name__)

    def open_document(self, uri: str) -> Document | None:
        """The document if the client has opened it (pygls would read any other from the disk)."""
        document = self._open_documents().get(unquote(uri))
        return document if isinstance(document, Document) else None

    def is_current(self, snapshot: Snapshot) -> bool:
        """Whether the document is still the one that the snapshot was taken from."""
        document = self.open_document(snapshot.uri)
        return document is not None and document.version == snapshot.version

    def snapshot(
        self,
        document: Document,
        position: types.Position,
        selected: types.SelectedCompletionInfo | None,
    ) -> Snapshot:
        """The document at `position`, between the other cells if it is one of a notebook."""
        limits = {
            "max_prefix_chars": self.settings.max_prefix_chars,
            "max_suffix_chars": self.settings.max_suffix_chars,
        }
        own = take_snapshot(document, position, selected, **limits)
        return with_cells(
            own, self.workspace, lambda cell: self.admission.judge(cell).is_allowed, **limits
        )

    async def context_for(self, snapshot: Snapshot) -> tuple[Sequence[Snippet], str | None]:
        """Pieces of other files for a request, best first, and the document's own shown path."""
        if not self.settings.context:
            return (), None
        cursor = Cursor(snapshot.uri, snapshot.language_id, snapshot.prefix[-_NEAR_CHARS:])
        max_chars = self.settings.max_context_chars
        try:
            pieces = await self.collector.snippets(cursor, max_chars=max_chars)
        except Exception as error:
            # A completion without them is better than none.
            logger.error("Other files could not be looked at (%s).", type(error).__name__)
            logger.debug("The failed look:", exc_info=True)
            return (), None
        return pieces, configuration.shown_path(snapshot.uri, self._folders)

    def follow_offer(self, snapshot: Snapshot, text: str, offer_id: str) -> None:
        """`text` is on the screen now: watch what becomes of it."""
        if snapshot.typed:
            # The menu's choice is not in the document yet; only the editor knows what comes of it.
            self.recorder.shown(offer_id, len(text), snapshot.language_id)
            return
        line, column = snapshot.replaced.start.line, len(snapshot.line_before)
        self.acceptance.shown(offer_id, snapshot.uri, line, column, text, snapshot.language_id)

    def focused(self, uri: str) -> None:
        """The user has turned to the document."""
        document = self.open_document(uri)
        if document is not None:
            self.collector.opened(document.uri, document.language_id)

    def initialize(self, params: types.InitializeParams) -> None:
        """Take what the client says of itself; problems are told after `initialized`."""
        self.profile = profile_for(params)
        self._wants_status = wants_our_status(params)
        self._folders = configuration.folders_of(self.workspace)
        self.sources.initialize(params.initialization_options, self._folders)
        self._read_settings()

    def announce_status(self) -> None:
        """From now on the client is told how things stand, if it wants to be."""
        self.status.announce(
            knows_copilots=self.profile.knows_status, knows_ours=self._wants_status
        )

    def set_configuration(self, values: object) -> None:
        """Take the client's configuration, ours or that of all servers."""
        section = section_of(values)
        # Clients also send this for other servers' sections, and without any to have us ask.
        if section is not None:
            self.sources.set_configuration({SECTION: section})
            self.apply_settings()

    def set_folders(self) -> None:
        """Other folders have been opened, or some closed: what is in flight may be forbidden."""
        self._folders = configuration.folders_of(self.workspace)
        self.sources.set_folders(self._folders)
        self.apply_settings()
        self.completer.close()

    def apply_settings(self) -> None:
        """Read the settings anew and tell the user of each one that cannot be used."""
        self._read_settings()
        problems, self._problems = self._problems, []
        for problem in problems:
            logger.warning("%s", problem)
            self.show(types.MessageType.Warning, problem)
        configuration.use_engine(self, self._engine)

    def keep(self, task: asyncio.Future[Any]) -> None:
        """Hold on to a task that nobody awaits, for the event loop does not."""
        self._kept.add(task)
        task.add_done_callback(self._kept.discard)

    def _read_settings(self) -> None:
        before = self.settings, self.sources.is_trusted
        self.settings, problems = self.sources.resolve()
        self._problems += problems
        self._refresh()
        # Clients also tell what is known already, in the middle of a first request.
        if before != (self.settings, self.sources.is_trusted):
            self.completer.on_settings(self.settings)

    def _refresh(self) -> None:
        """Make anew what depends on the settings and the folders."""
        settings, folders = self.settings, self._folders
        self.recorder.is_enabled = settings.statistics
        self.policy = FilePolicy(folders, is_trusted=self.sources.is_trusted, settings=settings)
        self.admission = Admission(self.policy, self.open_document)
        self.collector = ContextCollector(
            folders,
            is_allowed=self.admission.is_allowed,
            lines_of=self._lines_of,
            sources=cast("tuple[ContextSource, ...]", settings.context_sources),
        )
        for document in self._open_documents().values():
            self.collector.opened(document.uri, document.language_id)

    def _open_documents(self) -> dict[str, TextDocument]:
        """All of them by their plain uri; none before the client has introduced itself."""
        workspace = self.protocol._workspace
        documents: dict[str, TextDocument] = workspace.text_documents if workspace else {}
        return documents

    def _lines_of(self, uri: str) -> Sequence[str] | None:
        document = self.open_document(uri)
        return None if document is None else document.lines


def create_server(engine: EngineOptions) -> NemoDiffServer:
    """A server with all its handlers, ready for start_io."""
    server = NemoDiffServer(engine)
    server.feature(types.INITIALIZE)(_initialize)
    server.feature(types.INITIALIZED)(_initialized)
    server.feature(types.SHUTDOWN)(_shutdown)
    configuration.register(server)
    text_sync.register(server)
    inline.register(server)
    server.commands = commands.register(server)
    copilot.register(server)
    return server


def _initialize(ls: NemoDiffServer, params: types.InitializeParams) -> None:
    ls.initialize(params)
    if not ls.profile.supports_inline:
        inline.register_menu(ls)
    if ls.commands is not None and params.client_info is not None:
        info = params.client_info
        ls.commands.client_name = f"{info.name} {info.version or ''}".strip()


def _initialized(ls: NemoDiffServer, params: types.InitializedParams) -> None:
    # Not in the request before, because a client may show no message until it has its answer.
    ls.apply_settings()
    ls.announce_status()
    configuration.pull(ls)
    importlib.import_module("nemodiff_lsp.finishing.finish")  # Now, when nobody waits for it.


async def _shutdown(ls: NemoDiffServer, params: None) -> None:
    ls.completer.close()
    ls.sessions.supersede_all()
    ls.status.close()
    ls.recorder.flush()
    await ls.link.close()


def _later(delay_s: float, action: Callable[[], None]) -> asyncio.TimerHandle:
    return asyncio.get_running_loop().call_later(delay_s, action)
