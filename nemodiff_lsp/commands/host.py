"""Host: what the commands need of the language server and of its parts.

`NemoDiffServer` is one. Protocols only, so that the commands can be tested, and read, without the
pipeline of a completion.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from lsprotocol import types
from pygls.protocol import LanguageServerProtocol
from pygls.workspace import TextDocument

from nemodiff_lsp.completion.why import WhyLog
from nemodiff_lsp.link.engine_state import EngineState
from nemodiff_lsp.settings.settings import Settings
from nemodiff_lsp.status import Status
from nemodiff_lsp.switches import Switches

if TYPE_CHECKING:
    from engine.messages.fill import Fill, FillRequest
    from engine.messages.repair import Repair, RepairRequest


class Offer(Protocol):
    """What is offered in a document now, after what the user has typed of it.

    id: of the item that was shown; text: what is left of it, ``\\n`` line ends; position: where it
    goes, in the client's units; version: of the document that it fits.
    """

    @property
    def id(self) -> str: ...
    @property
    def text(self) -> str: ...
    @property
    def position(self) -> types.Position: ...
    @property
    def version(self) -> int | None: ...


class Offers(Protocol):
    """The offers of all documents."""

    def current(self, uri: str) -> Offer | None:
        """What is offered in the document at this moment."""
        ...


class Recorder(Protocol):
    """The statistics, as far as clients tell them. Methods are cheap and never raise."""

    def shown(self, offer_id: str, num_chars: int, language_id: str | None) -> None: ...
    def accepted(self, offer_id: str, num_chars: int) -> None: ...
    def partly_accepted(self, offer_id: str, num_chars: int) -> None: ...
    def dismissed(self, offer_id: str) -> None: ...
    def flush(self) -> None: ...


class Verdict(Protocol):
    @property
    def is_allowed(self) -> bool: ...
    @property
    def reason(self) -> str: ...


class Policy(Protocol):
    """Which documents may be read at all."""

    def judge(self, uri: str, text: str | None, *, language_id: str | None = None) -> Verdict: ...


class Engine(Protocol):
    """The way to the engine. No answer is None; the user has then been told why."""

    async def fill(self, request: FillRequest) -> Fill | None: ...
    async def repair(self, request: RepairRequest) -> Repair | None: ...

    async def restart(self) -> None:
        """End the engine and begin to start another. Raises EngineUnavailable."""
        ...

    @property
    def state(self) -> EngineState: ...


class Completer(Protocol):
    """The pipeline of completions."""

    def on_settings(self, settings: Settings) -> None:
        """The settings have changed; what was asked under others is of no use."""
        ...


class Host(Protocol):
    """The language server, as the commands see it."""

    settings: Settings

    @property
    def protocol(self) -> LanguageServerProtocol: ...
    @property
    def status(self) -> Status: ...
    @property
    def why(self) -> WhyLog: ...
    @property
    def switches(self) -> Switches: ...
    @property
    def offers(self) -> Offers: ...
    @property
    def recorder(self) -> Recorder: ...
    @property
    def policy(self) -> Policy: ...
    @property
    def link(self) -> Engine: ...
    @property
    def completer(self) -> Completer: ...

    def open_document(self, uri: str) -> TextDocument | None:
        """The document if the client has opened it."""
        ...

    def tell(self, kind: types.MessageType, message: str) -> None:
        """Write a line to the editor's log."""
        ...

    def show(self, kind: types.MessageType, message: str) -> None:
        """Show a message to the user."""
        ...

    def focused(self, uri: str) -> None:
        """The user has turned to the document."""
        ...
