"""What pygls 2.1 leaves open in the protocol: unreadable, early and late requests, book-keeping.

Used by `server.py` when it builds the language server. Also gives it our own documents, and keeps
the fields of a request that Copilot's clients send beside the standard ones.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote

import attrs
import cattrs
from lsprotocol import types
from pygls.exceptions import (
    JsonRpcException,
    JsonRpcInvalidRequest,
    JsonRpcServerNotInitialized,
)
from pygls.protocol import LanguageServerProtocol, default_converter
from pygls.workspace import Workspace

from nemodiff_lsp.documents.documents import Documents

_MAX_TAB_SIZE = 32


@attrs.define
class InlineParams(types.InlineCompletionParams):
    """The parameters with what Copilot's clients add.

    document_version: the version that the client means; tab_size (columns) and insert_spaces: how
    the buffer is indented. None where the client has not said so.
    arrived_version: the document's when the request came in.
    """

    document_version: int | None = None
    tab_size: int | None = None
    insert_spaces: bool | None = None
    arrived_version: int | None = None


@attrs.define
class MenuParams(types.CompletionParams):
    """arrived_version: the document's when the request came in."""

    arrived_version: int | None = None


class NemoDiffProtocol(LanguageServerProtocol):
    """pygls' protocol, except that every request gets an answer and nothing piles up."""

    has_shutdown_arrived = False
    """Whether the client has said ``shutdown``, as it must before ``exit``."""

    _documents: Documents | None = None

    @property
    def _workspace(self) -> Documents | None:
        return self._documents

    @_workspace.setter
    def _workspace(self, workspace: Workspace | None) -> None:
        # pygls makes a workspace of its own when it is initialized, before anything is opened.
        self._documents = None if workspace is None else Documents.like(workspace)

    def structure_message(self, data: dict[str, Any]) -> Any:
        """As in pygls; a request that cannot be read is answered instead of left hanging."""
        try:
            return super().structure_message(data)
        except JsonRpcException as error:
            if "method" in data and isinstance(data.get("id"), (int, str)):
                self._send_response(data["id"], error=error.to_response_error())
            raise

    def handle_message(self, message: Any) -> None:
        """As in pygls, but out of order a request is refused and a notification dropped."""
        method = getattr(message, "method", None)
        refusal: JsonRpcException | None = None
        if self._shutdown and method != types.EXIT:
            refusal = JsonRpcInvalidRequest("The server has been shut down.")
        elif self._workspace is None and method not in (None, types.INITIALIZE, types.EXIT):
            refusal = JsonRpcServerNotInitialized("The server has not been initialized.")
        elif method == types.SHUTDOWN:
            self.has_shutdown_arrived = True
        self._stamp(getattr(message, "params", None))
        if refusal is None:
            super().handle_message(message)
        elif method is not None and hasattr(message, "id"):
            self._send_response(message.id, error=refusal.to_response_error())

    def _stamp(self, params: object) -> None:
        # A handler begins a moment later, when the document may be newer already.
        if isinstance(params, (InlineParams, MenuParams)) and self._documents is not None:
            documents = self._documents.text_documents
            document = documents.get(unquote(params.text_document.uri))
            params.arrived_version = None if document is None else document.version

    def _handle_notification(self, method_name: str, params: Any) -> None:
        super()._handle_notification(method_name, params)
        # pygls keeps the future of each notification for ever: one per keystroke.
        for msg_id, future in list(self._request_futures.items()):
            if future.done():
                self._request_futures.pop(msg_id, None)


def make_converter() -> cattrs.Converter:
    """pygls' converter, taught what clients send beside the specified trigger kinds and contexts.

    vscode-languageclient up to 9.0.1 forwards VS Code's own numbers, where Invoke is 0.
    """
    converter: cattrs.Converter = default_converter()  # type: ignore[no-untyped-call]
    converter.register_structure_hook(
        types.InlineCompletionTriggerKind, lambda value, _: _trigger_kind(value)
    )
    structure = converter.get_structure_hook(types.InlineCompletionParams)
    converter.register_structure_hook(
        types.InlineCompletionParams,
        lambda value, kind: _with_additions(structure(_with_context(value), kind), value),
    )
    structure_menu = converter.get_structure_hook(types.CompletionParams)
    converter.register_structure_hook(
        types.CompletionParams,
        lambda value, kind: MenuParams(**_fields_of(structure_menu(value, kind))),
    )
    return converter


def _fields_of(params: Any) -> dict[str, Any]:
    return {field.name: getattr(params, field.name) for field in attrs.fields(type(params))}


def _with_context(params: object) -> object:
    """`params` with a full context: a client that leaves it or its kind out asks by itself."""
    if not isinstance(params, dict):
        return params
    automatic = {"triggerKind": types.InlineCompletionTriggerKind.Automatic.value}
    return {**params, "context": {**automatic, **(params.get("context") or {})}}


def _with_additions(params: types.InlineCompletionParams, value: object) -> InlineParams:
    """`params` and the additional fields of `value` as far as they can be used."""
    sent = value if isinstance(value, dict) else {}
    version = _part(sent, "textDocument").get("version")
    formatting = _part(sent, "formattingOptions")
    tab_size, insert_spaces = formatting.get("tabSize"), formatting.get("insertSpaces")
    is_usable = isinstance(tab_size, int) and 1 <= tab_size <= _MAX_TAB_SIZE
    return InlineParams(
        **_fields_of(params),
        document_version=version if _is_whole(version) else None,
        tab_size=tab_size if is_usable else None,
        insert_spaces=insert_spaces if isinstance(insert_spaces, bool) else None,
    )


def _part(value: dict[str, Any], name: str) -> dict[str, Any]:
    part = value.get(name)
    return part if isinstance(part, dict) else {}


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _trigger_kind(value: object) -> types.InlineCompletionTriggerKind:
    if value in (0, types.InlineCompletionTriggerKind.Invoked.value):
        return types.InlineCompletionTriggerKind.Invoked
    return types.InlineCompletionTriggerKind.Automatic
