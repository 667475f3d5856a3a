"""Notebooks: a cell's snapshot with the other cells of its language around it, in their order.

Called by `server.py`. What is inserted stays within the cell; the others are only read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from urllib.parse import unquote

from lsprotocol import types
from pygls.workspace import Workspace

from nemodiff_lsp.documents.documents import Document
from nemodiff_lsp.documents.snapshot import Snapshot, as_text

NOTEBOOKS = types.NotebookDocumentSyncOptions(
    notebook_selector=[types.NotebookDocumentFilterWithNotebook(notebook="*")]
)
"""What the server announces: every notebook of every kind."""

# One blank line tells the reader, and the model, that a new cell begins.
_BETWEEN = "\n\n"
_STRIDES_PER_WINDOW = 4


def with_cells(
    snapshot: Snapshot,
    workspace: Workspace,
    is_allowed: Callable[[Document], bool],
    *,
    max_prefix_chars: int,
    max_suffix_chars: int,
) -> Snapshot:
    """`snapshot` with earlier cells in front of its prefix and later ones behind its suffix.

    Unchanged for a document that is no cell. The budgets hold for the joined texts; a prefix that
    does not fit begins at a line, chosen in strides like that of the snapshot itself.
    """
    notebook = workspace.get_notebook_document(cell_uri=snapshot.uri)
    if notebook is None:
        return snapshot
    before: list[str] = []
    after: list[str] = []
    found = before
    for cell in notebook.cells:
        document = workspace.text_documents.get(unquote(cell.document))
        if not isinstance(document, Document):
            continue
        if unquote(cell.document) == snapshot.key:
            found = after
        elif _is_of_use(cell, document, snapshot) and is_allowed(document):
            found.append(as_text(document.source))
    prefix = "".join(_with_gap(text) for text in before) + snapshot.prefix
    suffix = snapshot.suffix
    if after:
        cells = [suffix, *after]
        suffix = _BETWEEN.join(text.rstrip("\n") for text in cells) + "\n"
    return replace(
        snapshot,
        prefix=_tail(prefix, max(max_prefix_chars, len(snapshot.prefix))),
        suffix=_head(suffix, max(max_suffix_chars, len(snapshot.suffix))),
    )


def cells_of(workspace: Workspace, notebook_uri: str) -> Iterable[str]:
    """The uris of a notebook's cells."""
    notebook = workspace.get_notebook_document(notebook_uri=notebook_uri)
    return () if notebook is None else [cell.document for cell in notebook.cells]


def _is_of_use(cell: types.NotebookCell, document: Document, snapshot: Snapshot) -> bool:
    is_code = cell.kind is types.NotebookCellKind.Code
    return is_code and document.language_id == snapshot.language_id


def _with_gap(text: str) -> str:
    return text.rstrip("\n") + _BETWEEN if text.strip() else ""


def _tail(text: str, max_chars: int) -> str:
    cut = len(text) - max_chars
    if cut <= 0:
        return text
    stride = max(1, max_chars // _STRIDES_PER_WINDOW)
    cut = -(-cut // stride) * stride
    line_end = text.find("\n", cut)
    return text[line_end + 1 :] if line_end >= 0 else text[cut:]


def _head(text: str, max_chars: int) -> str:
    if len(text) <= max_chars:
        return text
    line_end = text.rfind("\n", 0, max_chars)
    return text[: line_end + 1] if line_end >= 0 else text[:max_chars]
