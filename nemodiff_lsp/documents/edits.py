"""Edits: replacements in a document as one WorkspaceEdit that the client understands, and sent off.

Used by the commands. Knows the client's capabilities, nothing of engines.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from lsprotocol import types
from pygls.protocol import LanguageServerProtocol
from pygls.workspace import TextDocument

from nemodiff_lsp.documents.positions import locate, newline_near, num_units, with_newline

logger = logging.getLogger(__name__)

_ANNOTATION = "nemodiff"


@dataclass(frozen=True, slots=True)
class Replacement:
    """`text` for the characters ``start`` .. ``end`` of a `DocumentText`."""

    start: int
    end: int
    text: str


@dataclass(frozen=True, slots=True)
class Preview:
    """What the user is asked to confirm: label (a few words) and description (a sentence)."""

    label: str
    description: str


@dataclass(frozen=True, slots=True)
class DocumentText:
    """A document frozen before the first await: its text (line ends ``\\n``), its version."""

    uri: str
    version: int | None
    language_id: str | None
    text: str
    newline: str
    encoding: str

    @classmethod
    def of(cls, document: TextDocument, uri: str) -> DocumentText:
        """`document` as it is now; uri: as the client writes it."""
        encoding = document.position_codec.encoding or types.PositionEncodingKind.Utf16
        source = document.source
        return cls(
            uri,
            document.version,
            document.language_id,
            with_newline(source, "\n"),
            newline_near(source, len(source)),
            str(getattr(encoding, "value", encoding)),
        )

    def offset_of(self, position: types.Position) -> int:
        """Character of the text at a client's position, which is clamped to the document."""
        return locate(self.text, position.line, position.character, self.encoding).offset

    def position_of(self, offset: int) -> types.Position:
        """The client's position of a character of the text."""
        start = self.text.rfind("\n", 0, offset) + 1
        units = num_units(self.text[start:offset], self.encoding)
        return types.Position(self.text.count("\n", 0, start), units)

    def range_of(self, start: int, end: int) -> types.Range:
        return types.Range(self.position_of(start), self.position_of(end))

    def slice_of(self, given: types.Range) -> tuple[int, int]:
        """(start, end) characters of a client's range, in order."""
        start, end = self.offset_of(given.start), self.offset_of(given.end)
        return min(start, end), max(start, end)


def workspace_edit(
    document: DocumentText,
    replacements: Sequence[Replacement],
    capabilities: types.ClientCapabilities,
    preview: Preview | None = None,
) -> types.WorkspaceEdit:
    """The replacements as one edit: versioned, and annotated for `preview`, where the client can.

    Of each replacement, only what differs is replaced.
    """
    known = _edit_capabilities(capabilities)
    edits = [_text_edit(document, each) for each in map(_trimmed(document.text), replacements)]
    if known is None or not known.document_changes:
        return types.WorkspaceEdit(changes={document.uri: edits})
    versioned = types.OptionalVersionedTextDocumentIdentifier(
        uri=document.uri, version=document.version
    )
    if preview is None or not can_preview(capabilities):
        changes = [types.TextDocumentEdit(text_document=versioned, edits=list(edits))]
        return types.WorkspaceEdit(document_changes=changes)
    annotated = [types.AnnotatedTextEdit(_ANNOTATION, edit.range, edit.new_text) for edit in edits]
    annotation = types.ChangeAnnotation(
        label=preview.label, needs_confirmation=True, description=preview.description
    )
    return types.WorkspaceEdit(
        document_changes=[types.TextDocumentEdit(text_document=versioned, edits=annotated)],
        change_annotations={_ANNOTATION: annotation},
    )


def can_preview(capabilities: types.ClientCapabilities) -> bool:
    """Whether the client asks its user before it applies an annotated edit."""
    known = _edit_capabilities(capabilities)
    return (
        known is not None
        and bool(known.document_changes)
        and known.change_annotation_support is not None
    )


def can_apply(capabilities: types.ClientCapabilities) -> bool:
    """Whether the client applies edits that it is sent."""
    return capabilities.workspace is not None and bool(capabilities.workspace.apply_edit)


def send_edit(
    protocol: LanguageServerProtocol,
    edit: types.WorkspaceEdit,
    label: str,
    on_refused: Callable[[str], None],
) -> None:
    """Send `edit` to be applied; on_refused gets a sentence when the editor says that it was not.

    Does not wait: a client may answer only after the command that we are in has been answered.
    """
    params = types.ApplyWorkspaceEditParams(edit=edit, label=label)
    future = protocol.send_request(types.WORKSPACE_APPLY_EDIT, params)
    future.add_done_callback(lambda done: _look_at_answer(done, on_refused))


def _look_at_answer(done: Future[Any], on_refused: Callable[[str], None]) -> None:
    if done.cancelled():
        return
    if done.exception() is not None:
        logger.warning("The editor could not apply an edit.")
        on_refused("The editor could not apply the edit.")
    elif not getattr(done.result(), "applied", False):
        # The reason that a client gives may hold a path: it goes to the user alone.
        on_refused("The editor did not apply the edit: not confirmed, or the document has changed.")


def _edit_capabilities(
    capabilities: types.ClientCapabilities,
) -> types.WorkspaceEditClientCapabilities | None:
    return None if capabilities.workspace is None else capabilities.workspace.workspace_edit


def _trimmed(text: str) -> Callable[[Replacement], Replacement]:
    def trim(given: Replacement) -> Replacement:
        old, new = text[given.start : given.end], given.text
        head = 0
        while head < min(len(old), len(new)) and old[head] == new[head]:
            head += 1
        tail = 0
        while tail < min(len(old), len(new)) - head and old[-1 - tail] == new[-1 - tail]:
            tail += 1
        return Replacement(given.start + head, given.end - tail, new[head : len(new) - tail])

    return trim


def _text_edit(document: DocumentText, replacement: Replacement) -> types.TextEdit:
    return types.TextEdit(
        document.range_of(replacement.start, replacement.end),
        with_newline(replacement.text, document.newline),
    )
