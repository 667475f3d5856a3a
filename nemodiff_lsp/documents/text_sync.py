"""What follows from opening, changing and closing documents and notebooks.

`register` adds the handlers to the server; pygls has kept the texts when they are called.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING
from urllib.parse import unquote

from lsprotocol import types

from nemodiff_lsp.documents.notebooks import cells_of
from nemodiff_lsp.reuse.speculation import cursor_after

if TYPE_CHECKING:
    from nemodiff_lsp.documents.documents import Document
    from nemodiff_lsp.server import NemoDiffServer

Changes = Sequence[types.TextDocumentContentChangeEvent]


def register(server: NemoDiffServer) -> None:
    """Add the handlers."""
    server.feature(types.TEXT_DOCUMENT_DID_OPEN)(_did_open)
    server.feature(types.TEXT_DOCUMENT_DID_CHANGE)(_did_change)
    server.feature(types.TEXT_DOCUMENT_DID_CLOSE)(_did_close)
    server.feature(types.NOTEBOOK_DOCUMENT_DID_OPEN)(_did_open_notebook)
    server.feature(types.NOTEBOOK_DOCUMENT_DID_CHANGE)(_did_change_notebook)
    server.feature(types.NOTEBOOK_DOCUMENT_DID_CLOSE)(_did_close_notebook)


def _did_open(ls: NemoDiffServer, params: types.DidOpenTextDocumentParams) -> None:
    _opened(ls, params.text_document)


def _did_change(ls: NemoDiffServer, params: types.DidChangeTextDocumentParams) -> None:
    _changed(ls, params.text_document.uri, params.content_changes)


def _did_close(ls: NemoDiffServer, params: types.DidCloseTextDocumentParams) -> None:
    _closed(ls, params.text_document.uri)


def _did_open_notebook(ls: NemoDiffServer, params: types.DidOpenNotebookDocumentParams) -> None:
    for cell in params.cell_text_documents:
        _opened(ls, cell)


def _did_change_notebook(ls: NemoDiffServer, params: types.DidChangeNotebookDocumentParams) -> None:
    cells = params.change.cells
    if cells is None:
        return
    if cells.structure is not None:
        # Another order of cells is another text around each of them.
        for uri in cells_of(ls.workspace, params.notebook_document.uri):
            _unsettle(ls, unquote(uri))
        for opened in cells.structure.did_open or ():
            _opened(ls, opened)
        for closed in cells.structure.did_close or ():
            _closed(ls, closed.uri)
    for change in cells.text_content or ():
        _changed(ls, change.document.uri, change.changes)


def _did_close_notebook(ls: NemoDiffServer, params: types.DidCloseNotebookDocumentParams) -> None:
    for cell in params.cell_text_documents:
        _closed(ls, cell.uri)


def _opened(ls: NemoDiffServer, item: types.TextDocumentItem) -> None:
    _forget(ls, item.uri)
    document = ls.open_document(item.uri)
    if document is not None:
        ls.collector.opened(document.uri, document.language_id)


def _closed(ls: NemoDiffServer, uri: str) -> None:
    _forget(ls, uri)
    ls.acceptance.closed(uri)
    ls.collector.closed(uri)
    ls.switches.forget(uri)
    ls.why.forget(uri)


def _forget(ls: NemoDiffServer, uri: str) -> None:
    key = unquote(uri)
    ls.completer.on_close(key)
    ls.sessions.supersede(key)
    ls.admission.forget(key)


def _unsettle(ls: NemoDiffServer, key: str) -> None:
    ls.completer.on_edit(key, None)
    ls.sessions.supersede(key)


def _changed(ls: NemoDiffServer, uri: str, changes: Changes) -> None:
    document = ls.open_document(uri)
    if document is None:
        return
    key = unquote(uri)
    cursor = cursor_after(changes, document.encoding)
    # What is in flight may go on if the user types along it; the one who waited for it is told
    # that the text has changed.
    is_ahead = ls.profile.starts_on_change and _is_on(ls, document)
    is_worth_a_look = is_ahead or ls.completer.flights.of(key) is not None
    now = None
    if cursor is not None and is_worth_a_look:
        now = ls.snapshot(document, cursor, None)
    ls.completer.on_edit(key, now)
    ls.sessions.supersede(key)
    ls.acceptance.changed(document.uri)
    if cursor is not None:
        ls.collector.touched(document.uri, cursor.line)
    if now is not None and is_ahead:
        ls.completer.ahead.speculate(now)


def _is_on(ls: NemoDiffServer, document: Document) -> bool:
    return ls.admission.off_because(document, ls.settings, ls.switches) is None
